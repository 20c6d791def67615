// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// Which instruction sets this machine has.
#include <string.h>

#include "kernels.h"

#if defined(DIMS_AMX) || defined(DIMS_AVXVNNI)
#include <cpuid.h>
#endif
#if defined(DIMS_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace dims {

extern const Kernels kPortableKernels;
#if defined(DIMS_AVX2)
extern const Kernels kAvx2Kernels;
#endif
#if defined(DIMS_AVXVNNI)
extern const Kernels kAvxVnniKernels;
#endif
#if defined(DIMS_AMX)
extern const Kernels kAmxKernels;
#endif
#if defined(DIMS_AVX512)
extern const Kernels kAvx512Kernels;
#endif
#if defined(DIMS_NEON)
extern const Kernels kNeonKernels;
#endif

namespace {

struct Available {
    const Kernels* tables[6];
    size_t count = 0;

    Available() {
        // `__builtin_cpu_supports` reads CPUID, and asks the system whether it saves the wide registers.
#if defined(DIMS_AVX512)
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512vnni")) {
#if defined(DIMS_AMX)
            if (may_use_tiles()) tables[count++] = &kAmxKernels;
#endif
            tables[count++] = &kAvx512Kernels;
        }
#endif
#if defined(DIMS_AVXVNNI)
        if (__builtin_cpu_supports("avx2") && has_avx_vnni()) tables[count++] = &kAvxVnniKernels;
#endif
#if defined(DIMS_AVX2)
        if (__builtin_cpu_supports("avx2")) tables[count++] = &kAvx2Kernels;
#endif
#if defined(DIMS_NEON)
        if (has_dot_product()) tables[count++] = &kNeonKernels;
#endif
        tables[count++] = &kPortableKernels;
    }

#if defined(DIMS_AVXVNNI)
    // Older compilers have no name for it in `__builtin_cpu_supports`.
    static bool has_avx_vnni() {
        unsigned a, b, c, d;
        constexpr unsigned kAvxVnni = 1u << 4;
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni);
    }
#endif

#if defined(DIMS_AMX)
    // The processor has AMX for bytes, and Linux grants this process the registers (it refuses where it does not know
    // them).
    static bool may_use_tiles() {
        unsigned a, b, c, d;
        constexpr unsigned kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kAmxTile) || !(d & kAmxInt8)) return false;
        constexpr long kRequestPermission = 0x1023, kTileData = 18;
        return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }
#endif

#if defined(DIMS_NEON)
    static bool has_dot_product() {
#if defined(__APPLE__)
        return true;
#else
        constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
        return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#endif
    }
#endif
};

}  // namespace

const Kernels* const* available_kernels(size_t* count) {
    static const Available available;
    *count = available.count;
    return available.tables;
}

const Kernels* find_kernels(const char* name) {
    size_t count;
    const Kernels* const* tables = available_kernels(&count);
    if (name == nullptr || *name == '\0') return tables[0];
    for (size_t i = 0; i < count; ++i)
        if (strcmp(tables[i]->name, name) == 0) return tables[i];
    return nullptr;
}

}  // namespace dims
