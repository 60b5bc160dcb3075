"""What is measured: every metric, the networks behind them, and their weight files."""
