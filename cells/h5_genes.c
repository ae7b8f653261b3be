/* Where does an .h5ad file keep the names of its genes? */
#include "cells/frame.h"
#include "cells/h5.h"

/* What stands behind a cells_frame here. */
typedef struct {
    hid_t object;
    const char *path;
} h5_frame;

static emc_status h5_frame_index(cells_column *out, char **name, const cells_frame *frame)
{
    const h5_frame *h5 = frame->self;

    return cells_h5_frame_index(out, name, h5->object, h5->path);
}

static emc_status h5_frame_columns(cells_strings *names, const cells_frame *frame)
{
    const h5_frame *h5 = frame->self;

    return cells_h5_frame_columns(names, h5->object, h5->path);
}

static bool h5_frame_has(const cells_frame *frame, const char *column)
{
    return cells_h5_frame_has(((const h5_frame *)frame->self)->object, column);
}

static emc_status h5_frame_column(cells_column *out, const cells_frame *frame, const char *column,
                                  int64_t n)
{
    const h5_frame *h5 = frame->self;

    return cells_h5_column(out, h5->object, column, n, h5->path);
}

static cells_frame frame_of(const h5_frame *h5, const char *name)
{
    return (cells_frame){name, h5, h5_frame_index, h5_frame_columns, h5_frame_has, h5_frame_column};
}

emc_status cells_h5_list_columns(emc_text *text, hid_t frame, const char *index, const char *path)
{
    const h5_frame h5 = {frame, path};
    const cells_frame generic = frame_of(&h5, "");

    return cells_frame_list(text, &generic, index, path);
}

emc_status cells_h5_genes(cells_file *file, const cells_h5_gene_frames *frames, const char *wanted)
{
    const h5_frame var = {frames->var, file->path}, rest = {frames->other, file->path};
    const cells_frame frame = frame_of(&var, frames->name), other = frame_of(&rest, "var");

    return cells_frame_genes(file, &frame, frames->other < 0 ? NULL : &other, wanted);
}
