/* Where does an external link lead, and may it be followed? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/h5.h"

/* The permission travels with the open file, as a property of its access that the library keeps and
 * gives back: a cache for external files, which it then has. */
#define CACHED_FILES 2

emc_status cells_h5_allow_external(hid_t access, const char *path)
{
    if (H5Pset_elink_file_cache_size(access, CACHED_FILES) < 0)
        return emc_fail(EMC_ERR_NOMEM, "%s: the HDF5 library cannot be set up", path);
    return EMC_OK;
}

bool cells_h5_may_follow(hid_t group)
{
    const hid_t file = H5Iget_file_id(group);
    const hid_t access = file < 0 ? -1 : H5Fget_access_plist(file);
    unsigned n = 0;
    const bool may = access >= 0 && H5Pget_elink_file_cache_size(access, &n) >= 0 && n > 0;

    if (access >= 0)
        H5Pclose(access);
    cells_h5_close(file);
    return may;
}

/* The file that a link names: as it is when absolute, else beside the file that holds the link. */
static emc_status resolve(char **out, const char *path, const char *target)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;

    if (target[0] == '/' || !slash)
        return emc_copy_string(out, target);
    EMC_TRY(emc_copy_bytes(&folder, path, (size_t)(slash - path) + 1));
    const emc_status status = emc_path_join(out, folder, target);
    free(folder);
    return status;
}

/* One step at a time, so that every link on the way is seen. */
static emc_status walk(hid_t *out, hid_t root, const char *place, const char *path)
{
    hid_t at = root;
    emc_status status = EMC_OK;

    *out = -1;
    while (status == EMC_OK) {
        place += strspn(place, "/");
        const size_t n = strcspn(place, "/");
        char *name = NULL;
        hid_t next;
        if (n == 0)
            break;
        status = emc_copy_bytes(&name, place, n);
        if (status == EMC_OK)
            status = cells_h5_open_hard(&next, at, name, path);
        free(name);
        if (status != EMC_OK)
            break;
        if (at != root)
            cells_h5_close(at);
        at = next;
        place += n;
    }
    if (status == EMC_OK && at == root)
        at = H5Gopen2(root, "/", H5P_DEFAULT);
    if (status == EMC_OK)
        *out = at;
    else if (at != root)
        cells_h5_close(at);
    return status;
}

static emc_status open_target(hid_t *out, hid_t group, const char *name, const char *target,
                              const char *place, const char *path)
{
    char *file = NULL;
    struct stat st;
    hid_t root = -1;
    emc_status status = resolve(&file, path, target);

    if (status == EMC_OK && stat(file, &st) != 0)
        status = cells_h5_fail(EMC_ERR_NOT_FOUND, path, group,
                               "%s is a link to %s, which cannot be opened (%s); put the file back "
                               "where it was",
                               name, file, strerror(errno));
    else if (status == EMC_OK && !S_ISREG(st.st_mode))
        status = cells_h5_fail(EMC_ERR_FORMAT, path, group, "%s is a link to %s, which is no file",
                               name, file);
    /* Opened without the permission to go on from there: links of links are refused, and so are
     * circles. */
    if (status == EMC_OK)
        status = cells_h5_open_file(&root, file);
    if (status == EMC_OK)
        status = walk(out, root, place, file);
    cells_h5_close(root); /* what was opened keeps the file open */
    free(file);
    return status;
}

emc_status cells_h5_open_external(hid_t *out, hid_t group, const char *name, const char *path)
{
    const char *target, *place;
    H5L_info_t link;
    emc_status status;
    unsigned flags;
    char *value;

    *out = -1;
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0)
        return cells_h5_broken(path, group, "reading a link");
    EMC_TRY(emc_alloc(&value, link.u.val_size + 1, 1, "a link"));
    if (H5Lget_val(group, name, value, link.u.val_size, H5P_DEFAULT) < 0 ||
        H5Lunpack_elink_val(value, link.u.val_size, &flags, &target, &place) < 0)
        status = cells_h5_broken(path, group, "reading a link");
    else
        status = open_target(out, group, name, target, place, path);
    free(value);
    return status;
}
