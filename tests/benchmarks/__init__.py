"""The benchmarks: what they draw."""
