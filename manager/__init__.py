"""What runs on the user's machine: from settings to requests to AWS, and from AWS to what a person reads."""
