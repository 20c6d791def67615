// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// AVX-512 VNNI.
#if defined(__AVX512VNNI__)

#include "kernels_body.h"
#include "kernels_vnni.h"

namespace dims {

extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = make_kernels<InRegisters>("avx512-vnni");

}  // namespace dims

#endif
