// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// A way of multiplying whose sums stay in vector registers.
//
// The including file defines `multiply_tile<M, N>`: the sums of M rows and N blocks.
#pragma once

#include "kernels.h"

namespace {

using namespace dims;

// Rows and blocks that one call of `multiply_tile` takes at most.
constexpr size_t kTileRows = 8, kTileBlocks = 3, kTileStride = kTileBlocks * kBlock;

// The values of a group of inputs, as one number.
DIMS_INLINE int32_t read_group(const int8_t* x) {
    int32_t group;
    __builtin_memcpy(&group, x, sizeof group);
    return group;
}

struct Tile {
    int32_t sums[kTileRows][kTileStride] __attribute__((aligned(64)));
};

template <int M, int N>
DIMS_INLINE void clear_tile(Tile& tile) {
    for (int row = 0; row < M; ++row)
        for (size_t column = 0; column < N * kBlock; ++column) tile.sums[row][column] = 0;
}

// Blocks to fetch meanwhile; beyond the last one this is only a hint.
struct Ahead {
    const uint8_t* at;
    size_t blocks, block_bytes;

    // The share of the n-th block, where blocks are multiplied one after the other.
    Ahead part(size_t n) const { return {at + n * block_bytes, n < blocks ? size_t(1) : size_t(0), block_bytes}; }
};

template <int M, int N>
void multiply_tile(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead, Tile& tile);

using TileFunction = void (*)(const int8_t* x, size_t width, const uint8_t* w, size_t block_bytes, Ahead ahead,
                              Tile& tile);

template <int N>
constexpr TileFunction kTiles[kTileRows] = {
    multiply_tile<1, N>, multiply_tile<2, N>, multiply_tile<3, N>, multiply_tile<4, N>,
    multiply_tile<5, N>, multiply_tile<6, N>, multiply_tile<7, N>, multiply_tile<8, N>,
};
constexpr const TileFunction* kTileTable[kTileBlocks] = {kTiles<1>, kTiles<2>, kTiles<3>};

struct InRegisters {
    static constexpr size_t kSearched = 64;

    template <class Finish>
    static DIMS_INLINE void run(const Rows& x, const Matrix& w, Finish& finish) {
        Tile tile;
        size_t parts = (x.count + kTileRows - 1) / kTileRows;
        if (parts == 0) return;
        size_t share = (kTileBlocks + parts - 1) / parts;
        for (size_t block = 0; block < w.blocks; block += kTileBlocks) {
            size_t blocks = w.blocks - block < kTileBlocks ? w.blocks - block : kTileBlocks;
            const uint8_t* codes = w.codes + block * w.block_bytes();
            for (size_t part = 0; part < parts; ++part) {
                size_t first = part * x.count / parts, rows = (part + 1) * x.count / parts - first;
                // The parts share the next blocks, so that memory is read all the time.
                size_t next = part * share < kTileBlocks ? part * share : kTileBlocks;
                Ahead ahead = {codes + (kTileBlocks + next) * w.block_bytes(),
                               kTileBlocks - next < share ? kTileBlocks - next : share, w.block_bytes()};
                kTileTable[blocks - 1][rows - 1](x.codes + first * x.width, x.width, codes, w.block_bytes(), ahead,
                                                 tile);
                finish(tile.sums[0], kTileStride, first, rows, block, blocks);
            }
        }
    }
};

}  // namespace
