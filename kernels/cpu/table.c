/* Which functions does this variant put into a device's table? */
#include "kernels/cpu/device.h"

void cpu_fill(emc_ops *ops)
{
    ops->embed = cpu_embed;
    ops->rmsnorm = cpu_rmsnorm;
    ops->add_rmsnorm = cpu_add_rmsnorm;
    ops->linear = cpu_linear;
    ops->rope_store = cpu_rope_store;
    ops->attention = cpu_attention;
    ops->swiglu = cpu_swiglu;
    ops->gather_rows = cpu_gather_rows;
    ops->head = cpu_head;
}
