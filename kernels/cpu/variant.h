#pragma once
/*
 * The files that compute are compiled once for every instruction set that CMake lists, with
 * CPU_VARIANT naming it; device.c picks one when a device is opened. Their public names end in the
 * variant's. A machine always picks the same, so its bits stay the same.
 */

#ifndef CPU_VARIANT
#define CPU_VARIANT base
#endif

#define CPU_JOINED(name, variant) name##_##variant
#define CPU_JOIN(name, variant)   CPU_JOINED(name, variant)
#define CPU_NAMED(name)           CPU_JOIN(name, CPU_VARIANT)

#define cpu_add_rmsnorm CPU_NAMED(cpu_add_rmsnorm)
#define cpu_attention   CPU_NAMED(cpu_attention)
#define cpu_embed       CPU_NAMED(cpu_embed)
#define cpu_fill        CPU_NAMED(cpu_fill)
#define cpu_gather_rows CPU_NAMED(cpu_gather_rows)
#define cpu_head        CPU_NAMED(cpu_head)
#define cpu_linear      CPU_NAMED(cpu_linear)
#define cpu_product     CPU_NAMED(cpu_product)
#define cpu_rmsnorm     CPU_NAMED(cpu_rmsnorm)
#define cpu_rope_store  CPU_NAMED(cpu_rope_store)
#define cpu_swiglu      CPU_NAMED(cpu_swiglu)
