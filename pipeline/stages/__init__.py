"""The stages: each joins rooms in one readable function and holds no logic of its own."""
