"""The models of this package in PyTorch, shown to be the same function: what `training_speed` compares with."""
