// vg_hopper.cuh: what does the stand-in do for the instructions of sm_90a?
#pragma once
#include "virtual_gpu/vg_device.cuh"

void vg_mbar_init(smem_addr bar, int count);
void vg_mbar_arrive(smem_addr bar, int n_bytes);
void vg_mbar_wait(smem_addr bar, int parity, VgSite at);
void vg_bulk_copy(smem_addr dst, const void *src, int n_bytes, smem_addr bar);
void vg_fence_proxy_async();
void vg_wgmma(float *d, int n, uint64_t a, uint64_t b, bool add, VgSite at);
void vg_wgmma_commit(VgSite at);
void vg_wgmma_wait(int n, VgSite at);
