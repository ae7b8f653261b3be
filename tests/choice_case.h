#pragma once
/* Small .h5ad files made on the spot, whose matrices hold a given kind of values. */

#include "emt.h"

#include <hdf5.h>

#define CHOICE_GENES 60

/* The value of a gene in a cell. */
typedef double (*choice_values)(int cell, int gene);

double choice_counts(int cell, int gene); /* whole, half of them zero, sums differ */
double choice_log1p(int cell, int gene);  /* of counts to a sum of 10,000 */
double choice_log2(int cell, int gene);   /* of counts to a sum of a million */
double choice_tpm(int cell, int gene);
double choice_scaled(int cell, int gene);
double choice_fpkm(int cell, int gene);      /* neither whole nor of one sum, up to hundreds */
double choice_corrected(int cell, int gene); /* counts of which some are not whole */
double choice_free_log(int cell, int gene);  /* logarithms without a common sum */
double choice_half_log(int cell, int gene);  /* choice_free_log without every second gene */
double choice_ones(int cell, int gene);
double choice_zeros(int cell, int gene);

/* A file with obs and var; genes GENE0, GENE1, ... or the names given. Close it with H5Fclose. */
hid_t choice_create(const char *path, int n_cells, int n_genes, const char *const *genes);

/* A dense matrix "X", "layers/NAME", or with genes of its own "raw/X"; NULL puts nothing. */
void choice_matrix(hid_t file, const char *name, int n_cells, int n_genes, choice_values values);

/* A categorical column of obs: codes below zero are missing. */
void choice_column(hid_t file, const char *name, int n_cells, const char *const *categories,
                   int n_categories, int (*code)(int cell));

/* A column of var, text. */
void choice_var_column(hid_t file, const char *name, int n, const char *const *texts);
