"""Everything that reads or writes files: the store, bigWig and contact files, chromosome sizes, BED."""
