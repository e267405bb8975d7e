"""One file for each command: a frozen result, and one function that joins flows and packages."""
