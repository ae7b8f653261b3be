# Tests of cells/
