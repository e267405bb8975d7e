"""What joins packages and serves several commands: runs over images, examples, classifiers."""
