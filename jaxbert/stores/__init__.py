"""Storage on a disk or in a bucket: files, leases, workdirs, checkpoints."""
