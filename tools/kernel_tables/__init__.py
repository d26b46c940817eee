"""Parts of `tools/build_kernels.py`: raw files to samples, samples to tables, tables to Parquet and to docs."""
