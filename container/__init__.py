"""What runs inside SageMaker. The image carries this folder as the package `container` under /opt/program."""
