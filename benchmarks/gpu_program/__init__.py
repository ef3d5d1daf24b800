"""The programs that a GPU would run, read on a machine without one; see `__main__`."""
