"""Speed and memory of CLR-Face beside other face restorers, measured in one run on one machine.

`python -m benchmarks -o results.json`, then `python -m benchmarks.report results.json`.
"""
