"""Archives: many photos over several workers, on the machines of a Ray cluster or as threads of this process.

A worker is the one of `clrface restore`, which does a list of jobs (`worker`); how they reach it is Ray Data's affair
(`cluster`) or a thread pool's (`threads`); what became of each is a row of a Parquet file (`report`). `run` joins them.
"""
