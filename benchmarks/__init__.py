"""Speed comparisons; each module prints a table and writes JSON to `benchmarks/results/`. Run
them from the repository's root.
"""
