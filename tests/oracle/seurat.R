# A Seurat user's way in and out, as docs/seurat.md has it: usage: seurat.R EMCELL MODEL
# Without Seurat itself, a matrix of the Matrix package stands for its counts.
arguments <- commandArgs(trailingOnly = TRUE)
emcell <- arguments[1]
model <- arguments[2]
invisible(Sys.setlocale("LC_CTYPE", "C.UTF-8"))
suppressPackageStartupMessages(library(Matrix))
has_seurat <- requireNamespace("Seurat", quietly = TRUE)
folder <- tempfile("cells_10x")

if (has_seurat) {
  suppressPackageStartupMessages(library(Seurat))
  data("pbmc_small", package = "SeuratObject")
  object <- pbmc_small
  counts <- GetAssayData(object, assay = "RNA", slot = "counts")
} else {
  cat("NOT RUN: AddMetaData (no Seurat here); a sparse matrix stands for its counts\n")
  set.seed(1)
  counts <- rsparsematrix(40, 25, 0.3, rand.x = function(n) rpois(n, 3) + 1)
  dimnames(counts) <- list(c("ACTB", "GAPDH", "SOX2", "NANOG", paste0("GENE", 5:40)),
                           paste0("cell,", 1:25, "-\u00e9"))
}

# docs/seurat.md, in
dir.create(folder)
invisible(writeMM(counts, file.path(folder, "matrix.mtx")))
writeLines(colnames(counts), file.path(folder, "barcodes.tsv"))
write.table(data.frame(rownames(counts), rownames(counts), "Gene Expression"),
            file.path(folder, "features.tsv"),
            sep = "\t", quote = FALSE, row.names = FALSE, col.names = FALSE)

run <- function(...) {
  output <- suppressWarnings(
    system2(emcell, shQuote(c(...)), stdout = TRUE, stderr = file.path(folder, "log")))
  if (!is.null(attr(output, "status"))) {
    stop("emcell ", paste(c(...), collapse = " "), ": ", readLines(file.path(folder, "log")))
  }
  output
}

# emcell sees the same numbers: the genes of each cell in falling order, equal ones by their bytes.
# Groups of genes that the profile leaves out may be absent, no others.
left_out <- "^MT-|^RP[LS]|^MALAT1$|^NEAT1$|^FAU$|^UBA52$"
check_genes <- function(input) {
  lines <- run("prompt", "--quiet", "--all", "--jsonl", "--keep-gene-names", "--min-gene-match", "0",
               "--min-genes", "1", "--n-genes", as.character(nrow(counts)), "--layer", "X",
               "--input", input)
  stopifnot(length(lines) == ncol(counts))
  for (i in seq_along(lines)) {
    values <- counts[, i]
    ranked <- names(values)[order(-values, names(values), method = "radix")]
    ranked <- ranked[values[ranked] > 0]
    listed <- sub('.*"genes": \\[([^]]*)\\].*', "\\1", lines[i])
    listed <- gsub('"', "", strsplit(listed, ", ?")[[1]])
    stopifnot(identical(listed, ranked[ranked %in% listed]))
    stopifnot(all(grepl(left_out, setdiff(ranked, listed))))
  }
}
check_genes(folder)

# The same, compressed, and as a table whose header is one name short.
table <- file.path(folder, "cells.tsv")
write.table(as.matrix(counts), table, sep = "\t", quote = FALSE)
check_genes(table)
for (name in c("matrix.mtx", "barcodes.tsv", "features.tsv")) {
  lines <- readLines(file.path(folder, name))
  packed <- gzfile(file.path(folder, paste0(name, ".gz")), "w")
  writeLines(lines, packed)
  close(packed)
  invisible(file.remove(file.path(folder, name)))
}
check_genes(folder)

labels <- file.path(folder, "labels.csv")
invisible(run("annotate", "--input", folder, "--model", model, "--output", labels,
    "--min-gene-match", "0"))

# docs/seurat.md, out
metadata <- read.csv(labels, row.names = 1)
stopifnot(identical(rownames(metadata), colnames(counts)))
stopifnot(all(c("label", "score", "status") %in% names(metadata)))
if (has_seurat) {
  object <- AddMetaData(object, metadata[c("label", "score", "status")])
  stopifnot(identical(object$status[[5]], metadata$status[5]))
  stopifnot(identical(names(object$label), colnames(object)))
}
cat("seurat:", ncol(counts), "cells out and back,",
    if (has_seurat) paste("Seurat", packageVersion("Seurat")) else "Matrix alone", "\n")
