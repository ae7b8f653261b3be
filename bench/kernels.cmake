# Benches of kernels/
