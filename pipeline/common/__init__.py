"""What every package uses: files, HDF5, memory, errors, choices and the space of codes."""
