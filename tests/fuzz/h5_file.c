#include "h5_file.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No more bytes than this are written to one dataset. */
#define MOST_BYTES ((hsize_t)1 << 20)
#define FIXED      12

static hid_t simple(int n_dims, const uint64_t *dims)
{
    hsize_t sizes[3] = {0};

    if (n_dims < 0)
        return H5Screate(H5S_NULL);
    if (n_dims == 0)
        return H5Screate(H5S_SCALAR);
    for (int i = 0; i < n_dims; i++)
        sizes[i] = dims[i];
    return H5Screate_simple(n_dims, sizes, NULL);
}

static hid_t text_type(size_t size, H5T_str_t pad)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, size);
    H5Tset_strpad(type, pad);
    if (size == H5T_VARIABLE)
        H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static hid_t bool_type(void)
{
    const hid_t type = H5Tenum_create(H5T_NATIVE_INT8);
    const int8_t no = 0, yes = 1;

    H5Tenum_insert(type, "FALSE", &no);
    H5Tenum_insert(type, "TRUE", &yes);
    return type;
}

static hid_t half_type(void)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);

    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

static hid_t compound_type(void)
{
    const hid_t type = H5Tcreate(H5T_COMPOUND, FIXED + 1);
    const hid_t text = text_type(FIXED, H5T_STR_NULLPAD);

    H5Tinsert(type, "index", 0, text);
    H5Tinsert(type, "label", FIXED, H5T_NATIVE_INT8);
    H5Tclose(text);
    return type;
}

static hid_t type_of(h5_item_type type)
{
    static const hsize_t pair = 2;

    switch (type) {
    case TYPE_I8:
        return H5Tcopy(H5T_STD_I8LE);
    case TYPE_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case TYPE_I16:
        return H5Tcopy(H5T_STD_I16LE);
    case TYPE_U16:
        return H5Tcopy(H5T_STD_U16LE);
    case TYPE_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case TYPE_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case TYPE_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case TYPE_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case TYPE_BE32:
        return H5Tcopy(H5T_STD_I32BE);
    case TYPE_F16:
        return half_type();
    case TYPE_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case TYPE_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case TYPE_TEXT:
        return text_type(H5T_VARIABLE, H5T_STR_NULLTERM);
    case TYPE_FIXED:
        return text_type(FIXED, H5T_STR_NULLPAD);
    case TYPE_BLANK:
        return text_type(FIXED, H5T_STR_SPACEPAD);
    case TYPE_BOOL:
        return bool_type();
    case TYPE_OPAQUE:
        return H5Tcreate(H5T_OPAQUE, 4);
    case TYPE_COMPOUND:
        return compound_type();
    case TYPE_VLEN:
        return H5Tvlen_create(H5T_STD_I32LE);
    case TYPE_ARRAY:
        return H5Tarray_create2(H5T_STD_I32LE, 1, &pair);
    case TYPE_REFERENCE:
        return H5Tcopy(H5T_STD_REF_OBJ);
    case N_TYPES:
        break;
    }
    return -1;
}

static const char *word(int64_t value)
{
    return h5_words[(value & 0xff) % h5_n_words];
}

static double number(int64_t value)
{
    return value == INT64_MIN ? (double)NAN : value == INT64_MAX ? (double)INFINITY : (double)value;
}

/* Fills to[n] with the entries in the memory type that is returned. */
static hid_t entries(void *to, const h5_item *item, hid_t file)
{
    const hid_t stored = type_of(item->type);
    const size_t size = item->type == TYPE_VLEN ? sizeof(hvl_t) : H5Tget_size(stored);

    for (int i = 0; i < item->n_values; i++) {
        const int64_t value = item->values[i];
        char *at = (char *)to + (size_t)i * (size > 8 ? size : 8);
        if (item->type <= TYPE_BE32) {
            ((int64_t *)to)[i] = value;
        } else if (item->type <= TYPE_F64) {
            ((double *)to)[i] = number(value);
        } else if (item->type == TYPE_TEXT) {
            ((const char **)to)[i] = word(value);
        } else if (item->type == TYPE_FIXED || item->type == TYPE_BLANK) {
            strncpy((char *)to + (size_t)i * FIXED, word(value), FIXED);
        } else if (item->type == TYPE_COMPOUND) {
            at = (char *)to + (size_t)i * (FIXED + 1);
            strncpy(at, word(value), FIXED);
            at[FIXED] = (char)(value >> 8);
        } else if (item->type == TYPE_VLEN) {
            ((hvl_t *)to)[i] = (hvl_t){.len = (size_t)(value & 3), .p = to};
        } else if (item->type == TYPE_REFERENCE) {
            H5Rcreate((hobj_ref_t *)to + i, file, "/", H5R_OBJECT, -1);
        } else {
            memcpy((char *)to + (size_t)i * size, &value, size < 8 ? size : 8);
        }
    }
    if (item->type <= TYPE_BE32 || (item->type >= TYPE_F16 && item->type <= TYPE_F64)) {
        H5Tclose(stored);
        return H5Tcopy(item->type <= TYPE_BE32 ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE);
    }
    return stored;
}

/* The first entries in C order; of more than one dimension only when all of them are there. */
static void write_values(hid_t dataset, const h5_item *item, hid_t file)
{
    static _Alignas(16) char memory[H5_MOST_VALUES * 16];
    hsize_t n = (hsize_t)item->n_values, total = 1;
    const hid_t space = H5Dget_space(dataset);

    for (int i = 0; i < item->n_dims; i++)
        total =
            total && item->dims[i] > MOST_BYTES / total ? MOST_BYTES + 1 : total * item->dims[i];
    if (n > total || item->n_dims > 1)
        n = n < total ? 0 : total;
    if (n > 0 && total <= MOST_BYTES / 16) {
        const hsize_t start = 0;
        memset(memory, 0, sizeof memory);
        const hid_t type = entries(memory, item, file), in = H5Screate_simple(1, &n, NULL);
        if (item->n_dims == 1)
            H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &n, NULL);
        H5Dwrite(dataset, type, in, space, H5P_DEFAULT, memory);
        H5Sclose(in);
        H5Tclose(type);
    }
    H5Sclose(space);
}

static hid_t creation(const h5_item *item)
{
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[3];

    if (item->n_dims < 1 || item->chunk[0] == 0)
        return list;
    for (int i = 0; i < item->n_dims; i++)
        chunk[i] = item->chunk[i] ? item->chunk[i] : 1;
    H5Pset_chunk(list, item->n_dims, chunk);
    if (item->filters & 2)
        H5Pset_shuffle(list);
    if (item->filters & 8)
        H5Pset_scaleoffset(list, H5Z_SO_INT, 0);
    if (item->filters & 1)
        H5Pset_deflate(list, 1);
    if (item->filters & 4)
        H5Pset_fletcher32(list);
    if (item->filters & 16)
        H5Pset_filter(list, 399, H5Z_FLAG_OPTIONAL, 0, NULL);
    return list;
}

static void write_dataset(hid_t file, const h5_item *item)
{
    static const hsize_t origin[3] = {0};
    const hid_t type = type_of(item->type), space = simple(item->n_dims, item->dims);
    const hid_t how = creation(item), ways = H5Pcreate(H5P_LINK_CREATE);

    H5Pset_create_intermediate_group(ways, 1);
    const hid_t dataset =
        space < 0 ? -1 : H5Dcreate2(file, item->name, type, space, ways, how, H5P_DEFAULT);
    if (dataset >= 0) {
        write_values(dataset, item, file);
        if (item->raw.n > 0 && item->chunk[0] > 0 && item->n_dims > 0)
            H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, origin, item->raw.n, item->raw.at);
        H5Dclose(dataset);
    }
    H5Pclose(ways);
    H5Pclose(how);
    H5Sclose(space);
    H5Tclose(type);
}

static void write_note(hid_t file, const h5_items *items, const h5_item *item, const h5_note *note)
{
    const char *text = word(note->text), *name = word(note->name);
    const hsize_t n = note->n;
    const hid_t space =
        note->kind == 3 || note->kind == 5 ? H5Screate_simple(1, &n, NULL) : H5Screate(H5S_SCALAR);
    hobj_ref_t reference;
    const void *bytes = text;
    double reals[4];
    hid_t type = -1;

    if (note->kind == 1) {
        type = text_type(H5T_VARIABLE, H5T_STR_NULLTERM);
        bytes = &text;
    } else if (note->kind == 2) {
        type = text_type(strlen(text) + 1, H5T_STR_NULLTERM);
    } else if (note->kind == 3) {
        type = H5Tcopy(H5T_NATIVE_INT64);
        bytes = note->values;
    } else if (note->kind == 4) {
        type = H5Tcopy(H5T_STD_REF_OBJ);
        const int target = note->text % items->n;
        bytes = H5Rcreate(&reference, file, items->items[target].name, H5R_OBJECT, -1) < 0
                    ? NULL
                    : &reference;
    } else {
        type = H5Tcopy(H5T_NATIVE_DOUBLE);
        for (int i = 0; i < 4; i++)
            reals[i] = number(note->values[i]);
        bytes = reals;
    }
    const hid_t attribute = !bytes || !*name
                                ? -1
                                : H5Acreate_by_name(file, item->name, name, type, space,
                                                    H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) {
        H5Awrite(attribute, type, bytes);
        H5Aclose(attribute);
    }
    H5Tclose(type);
    H5Sclose(space);
}

static void write_item(hid_t file, const h5_items *items, const h5_item *item)
{
    const char *target = items->items[item->target % items->n].name;
    const hid_t ways = H5Pcreate(H5P_LINK_CREATE);
    hid_t group;

    H5Pset_create_intermediate_group(ways, 1);
    switch (item->kind) {
    case ITEM_GROUP:
        group = H5Gcreate2(file, item->name, ways, H5P_DEFAULT, H5P_DEFAULT);
        if (group >= 0)
            H5Gclose(group);
        break;
    case ITEM_DATASET:
        write_dataset(file, item);
        break;
    case ITEM_HARD:
        H5Lcreate_hard(file, target, file, item->name, ways, H5P_DEFAULT);
        break;
    case ITEM_SOFT:
        H5Lcreate_soft(target, file, item->name, ways, H5P_DEFAULT);
        break;
    case ITEM_EXTERNAL:
        H5Lcreate_external("other.h5", target, file, item->name, ways, H5P_DEFAULT);
        break;
    }
    H5Pclose(ways);
}

void h5_write(const h5_items *items, const char *path)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    fuzz_require(file >= 0, "a file that is written");
    for (int i = 0; i < items->n; i++)
        if (items->items[i].name[0])
            write_item(file, items, &items->items[i]);
    for (int i = 0; i < items->n; i++)
        for (int k = 0; k < H5_MOST_NOTES && items->items[i].name[0]; k++)
            if (items->items[i].notes[k].kind)
                write_note(file, items, &items->items[i], &items->items[i].notes[k]);
    H5Fclose(file);
    H5Eclear2(H5E_DEFAULT);
}
