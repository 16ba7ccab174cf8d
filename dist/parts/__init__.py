"""The parts of a release, each made by a module of its own."""
