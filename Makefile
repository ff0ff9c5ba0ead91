# make run: the whole way on this machine.  make test: the tests.  make help: the rest.
.DEFAULT_GOAL := help
.PHONY: help setup run check format test coverage test-slow test-long test-random test-docker test-gpu-image clean

BIN := .env/bin
REQUIREMENTS := local_env_requirements.txt container/constraints.txt container/requirements.txt \
	container/requirements-cpu.txt container/requirements-mlflow.txt container/requirements-wandb.txt \
	tests/requirements.txt

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .env/complete ## make the virtual environment .env

.env/complete: $(REQUIREMENTS)
	@python=$$(scripts/prerequisites) && $$python -m venv .env
	@echo "installing the requirements into .env (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r local_env_requirements.txt -r container/requirements-cpu.txt -r tests/requirements.txt \
		-c container/constraints.txt
	@touch $@

# Without this, jobs run as containers where a Docker engine answers; the first run is to be a quick one everywhere.
run: export LOCAL_AWS_EXECUTOR ?= process
run: setup ## train the sample data set from start to end on this machine, without an AWS account
	@$(BIN)/python data_handler.py --sample digits
	@$(BIN)/python data_handler.py
	@$(BIN)/python project_manager.py --local --init_s3_buckets --prune \
		--build_and_push_docker_image --launch_training --download_results
	@echo
	@echo "The same on your AWS account, after setting PROJECT_NAME in container/modeling/config.py:"
	@echo "  source .env/bin/activate"
	@echo "  python project_manager.py --init_s3_buckets"
	@echo "  python project_manager.py --build_and_push_docker_image"
	@echo "  python project_manager.py --launch_training"
	@echo "  python project_manager.py --download_results"

check: setup ## lint, formatting, types and import rules; edits nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/settings_table.py --check

format: setup ## format the code, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/settings_table.py

test: setup ## run the tests
	$(BIN)/python -m pytest --ignore tests/docker -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

coverage: setup ## the same tests, and the lines that they do not reach
	$(BIN)/python -m pytest --ignore tests/docker -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder --cov

test-slow: setup ## run the tests that take long
	$(BIN)/python -m pytest --ignore tests/docker -m "slow and not long" -n 3 --dist loadfile --no-loadscope-reorder

test-long: setup ## run the tests that take longest, before a release
	$(BIN)/python -m pytest --ignore tests/docker -m long -n 2 --dist loadfile --no-loadscope-reorder

test-random: setup ## run the tests of properties with examples that no run had before
	$(BIN)/python -m pytest --ignore tests/docker -m hypothesis --hypothesis-profile explore -n 3 --dist loadfile

test-docker: setup ## build, push and run the image by a real Docker engine (needs docker-registry and debootstrap)
	$(BIN)/python -m pytest tests/docker

test-gpu-image: setup ## the same for the GPU image, as far as a machine without a GPU can tell; downloads 4 GB
	TEST_GPU_IMAGE=1 $(BIN)/python -m pytest tests/docker/test_gpu_image.py

clean: ## stop the AWS on this machine; remove its files, .env and caches (never data/ and results/)
	@if [ -x $(BIN)/python ]; then $(BIN)/python project_manager.py --stop_local_aws; fi
	rm -rf .env .local_aws .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
