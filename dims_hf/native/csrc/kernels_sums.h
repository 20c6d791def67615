// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// Products of M rows and N registers of outputs, all sums in registers.
//
// `Set` says how: its types `Sum`, `Codes` (of the outputs of a register by one group of inputs) and `Values` (one
// group of a row), the number of outputs `kOutputs`, and the functions `load_sum`, `load_codes`, `spread`, `add` and
// `store`. Members and not arrays: loops over arrays are unrolled too late for compilers to keep the sums in registers.
#pragma once

#include "kernels_registers.h"

namespace {

template <class Set, int N>
struct Codes {
    typename Set::Codes first;
    Codes<Set, N - 1> others;

    DIMS_INLINE void load(const uint8_t* w, size_t stride) {
        first = Set::load_codes(w);
        others.load(w + stride, stride);
    }
};

template <class Set>
struct Codes<Set, 0> {
    DIMS_INLINE void load(const uint8_t*, size_t) {}
};

template <class Set, int N>
struct Sums {
    typename Set::Sum first;
    Sums<Set, N - 1> others;

    DIMS_INLINE void load(const int32_t* from) {
        first = Set::load_sum(from);
        others.load(from + Set::kOutputs);
    }
    DIMS_INLINE void add(const Codes<Set, N>& codes, typename Set::Values values) {
        first = Set::add(first, codes.first, values);
        others.add(codes.others, values);
    }
    DIMS_INLINE void store(int32_t* to) const {
        Set::store(to, first);
        others.store(to + Set::kOutputs);
    }
};

template <class Set>
struct Sums<Set, 0> {
    DIMS_INLINE void load(const int32_t*) {}
    DIMS_INLINE void add(const Codes<Set, 0>&, typename Set::Values) {}
    DIMS_INLINE void store(int32_t*) const {}
};

template <class Set, int M, int N>
struct RowSums {
    Sums<Set, N> first;
    RowSums<Set, M - 1, N> others;

    DIMS_INLINE void load(const int32_t* from) {
        first.load(from);
        others.load(from + kTileStride);
    }
    DIMS_INLINE void add(const Codes<Set, N>& codes, const int8_t* x, size_t x_stride) {
        first.add(codes, Set::spread(x));
        others.add(codes, x + x_stride, x_stride);
    }
    DIMS_INLINE void store(int32_t* to) const {
        first.store(to);
        others.store(to + kTileStride);
    }
};

template <class Set, int N>
struct RowSums<Set, 0, N> {
    DIMS_INLINE void load(const int32_t*) {}
    DIMS_INLINE void add(const Codes<Set, N>&, const int8_t*, size_t) {}
    DIMS_INLINE void store(int32_t*) const {}
};

// Rows of activations, of which a group takes `step` bytes.
struct Inputs {
    const int8_t* x;
    size_t stride, step, groups;
};

// Adds to the sums `to`, of rows `kTileStride` apart, the products of M rows and N registers of outputs, whose codes
// lie `stride` bytes apart in every group. `ahead` is fetched meanwhile.
template <class Set, int M, int N>
DIMS_INLINE void add_products(Inputs inputs, const uint8_t* w, size_t stride, Ahead ahead, int32_t* to) {
    RowSums<Set, M, N> sums;
    sums.load(to);
    for (size_t group = 0; group < inputs.groups; ++group) {
        Codes<Set, N> codes;
        codes.load(w + group * kBlock * kGroup, stride);
        for (size_t line = 0; line < ahead.blocks; ++line)
            __builtin_prefetch(ahead.at + line * ahead.block_bytes + group * kBlock * kGroup);
        sums.add(codes, inputs.x + group * inputs.step, inputs.stride);
    }
    sums.store(to);
}

}  // namespace
