// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// What all instruction sets share: included by each kernels_*.cpp, compiled with that file's flags.
//
// A way of multiplying is a class with `run(x, w, finish)`, which calls finish(sums, stride, first row, rows, first block,
// blocks) for every piece of the product, where row i has its sums at sums + i * stride; of a row, blocks come in
// ascending order. `kSearched` is the number of rows that it takes at once where the likeliest tokens are searched.
// Nothing here may be visible outside (anonymous namespace), nor use inline functions of the standard library: the
// linker keeps one copy of such a function, which may be the one for a newer processor.
#pragma once

#include "lanes.h"

namespace {

using namespace dims;

// Compilers fill an initialised array in memory first.
template <int Q>
DIMS_INLINE void clear(Floats (&values)[Q]) {
    for (int i = 0; i < Q; ++i) values[i] = Floats{};
}

// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even.
constexpr float kRounder = 12582912.0f;
DIMS_INLINE Floats round_floats(Floats value) { return (value + kRounder) - kRounder; }

// exp of values <= 0 (below -87, the smallest normal numbers): Cody-Waite reduction and a polynomial of degree 5.
DIMS_INLINE Floats exp_floats(Floats x) {
    x = larger(x, spread(-87.0f));
    Floats n = round_floats(x * 1.44269504f);
    Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    return p * with_bits((to_ints(n) + 127) << 23);
}

// sum of (w - 128) x, from the sum of w x
DIMS_INLINE Ints centred(const int32_t* sums, int32_t row_sum) { return load_ints(sums) - 128 * row_sum; }

template <class Multiply>
void accumulate(const Rows& x, const Matrix& w, int32_t* to) {
    auto finish = [&](const int32_t* sums, size_t stride, size_t first, size_t rows, size_t block, size_t blocks) {
        for (size_t row = 0; row < rows; ++row)
            for (size_t n = 0; n < blocks; ++n)
                store_ints(to + ((first + row) * w.blocks + block + n) * kBlock,
                           centred(sums + row * stride + n * kBlock, x.sums[first + row]));
    };
    Multiply::run(x, w, finish);
}

// What the columns of a block have in common for all rows.
struct Columns {
    Columns(const Matrix& w, size_t block)
        : scales(load(w.scales + block * kBlock)), bias(load(w.bias + block * kBlock)) {}

    // Values of a row's sums.
    DIMS_INLINE Floats values(const int32_t* sums, const Rows& x, size_t row) const {
        return to_floats(centred(sums, x.sums[row])) * scales * x.scales[row] + bias;
    }

    Floats scales, bias;
};

template <class Multiply>
void linear(const Rows& x, const Matrix& w, Activation activation, float* y, size_t y_stride) {
    Floats floor = spread(activation == Activation::kRelu ? 0.0f : -3.0e38f);
    auto finish = [&](const int32_t* sums, size_t stride, size_t first, size_t rows, size_t block, size_t blocks) {
        for (size_t n = 0; n < blocks; ++n) {
            Columns columns(w, block + n);
            for (size_t row = 0; row < rows; ++row) {
                Floats value = columns.values(sums + row * stride + n * kBlock, x, first + row);
                store(y + (first + row) * y_stride + (block + n) * kBlock, larger(value, floor));
            }
        }
    };
    Multiply::run(x, w, finish);
}

struct Search {
    float reference;  // of the exponentials in `sums`
    Floats sums;
};

DIMS_INLINE void insert_best(Best& best, int num_best, float logit, int32_t column) {
    int place = num_best - 1;
    for (; place > 0 && logit > best.logits[place - 1]; --place) {
        best.logits[place] = best.logits[place - 1];
        best.columns[place] = best.columns[place - 1];
    }
    best.logits[place] = logit;
    best.columns[place] = column;
}

DIMS_INLINE void add_exponentials(Search& search, Floats logits, float largest) {
    if (largest > search.reference) {
        search.sums *= exp_floats(spread(search.reference - largest));
        search.reference = largest;
    }
    search.sums += exp_floats(logits - search.reference);
}

// log of a sum in [1, infinity): exact exponent, and log1p-like series of the mantissa by atanh.
DIMS_INLINE float log_of(float value) {
    int32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    int exponent = (bits >> 23) - 127;
    bits = (bits & 0x007fffff) | 0x3f800000;
    float mantissa;
    __builtin_memcpy(&mantissa, &bits, 4);
    if (mantissa > 1.41421356f) {
        mantissa *= 0.5f;
        ++exponent;
    }
    double z = (static_cast<double>(mantissa) - 1.0) / (static_cast<double>(mantissa) + 1.0), square = z * z;
    double series = 1.0 + square * (1.0 / 3 + square * (1.0 / 5 + square * (1.0 / 7 + square * (1.0 / 9))));
    return static_cast<float>(exponent * 0.69314718055994531 + 2.0 * z * series);
}

template <class Multiply>
void find_best_of_few(const Rows& x, const Matrix& w, int num_best, bool with_sum, Best* best) {
    Search searches[Multiply::kSearched];
    for (size_t row = 0; row < x.count; ++row) {
        searches[row] = {-3.0e38f, Floats{}};
        for (int place = 0; place < kMaxBest; ++place) {
            best[row].logits[place] = -3.0e38f;
            best[row].columns[place] = 0;
        }
    }
    auto finish = [&](const int32_t* sums, size_t stride, size_t first, size_t rows, size_t block, size_t blocks) {
        for (size_t n = 0; n < blocks; ++n) {
            Columns columns(w, block + n);
            for (size_t row = 0; row < rows; ++row) {
                Best& found = best[first + row];
                Floats logits = columns.values(sums + row * stride + n * kBlock, x, first + row);
                if (any_above(logits, found.logits[num_best - 1])) {
                    float lanes[16];
                    store(lanes, logits);
                    for (int lane = 0; lane < 16; ++lane)
                        if (lanes[lane] > found.logits[num_best - 1])
                            insert_best(found, num_best, lanes[lane],
                                        static_cast<int32_t>((block + n) * kBlock) + lane);
                }
                if (with_sum) add_exponentials(searches[first + row], logits, found.logits[0]);
            }
        }
    };
    Multiply::run(x, w, finish);
    for (size_t row = 0; row < x.count; ++row) {
        // Without the sum the likeliest token counts as certain.
        best[row].log_sum = best[row].logits[0];
        if (!with_sum) continue;
        float sum = sum_of(searches[row].sums);
        best[row].log_sum += log_of(sum > 1.0f ? sum : 1.0f);
    }
}

template <class Multiply>
void find_best(const Rows& x, const Matrix& w, int num_best, bool with_sum, Best* best) {
    constexpr size_t kMost = Multiply::kSearched;
    for (size_t first = 0; first < x.count; first += kMost) {
        size_t count = x.count - first < kMost ? x.count - first : kMost;
        Rows some = {x.codes + first * x.width, x.scales + first, x.sums + first, count, x.width};
        find_best_of_few<Multiply>(some, w, num_best, with_sum, best + first);
    }
}

DIMS_INLINE void quantize_row(const float* x, size_t width, float largest, int8_t* codes, float* scale, int32_t* sum) {
    // what is not finite becomes a row of zeros
    bool usable = largest > 0.0f && largest < 3.0e38f;
    float inverse = usable ? 127.0f / largest : 0.0f;
    Ints total = {};
    for (size_t i = 0; i < width; i += kBlock) {
        Ints rounded = to_ints(round_floats(load(x + i) * inverse));
        total += rounded;
        store_bytes(codes + i, rounded);
    }
    *scale = usable ? largest / 127.0f : 0.0f;
    *sum = sum_of(total);
}

DIMS_INLINE Floats magnitude(Floats value) { return larger(value, -value); }

void quantize(const float* x, size_t count, size_t width, int8_t* codes, float* scales, int32_t* sums) {
    for (size_t row = 0; row < count; ++row, x += width, codes += width) {
        Floats largest = {};
        for (size_t i = 0; i < width; i += kBlock) largest = larger(largest, magnitude(load(x + i)));
        quantize_row(x, width, largest_of(largest), codes, scales + row, sums + row);
    }
}

// Rows go through every step side by side, since a step waits for the one before it.
template <int R>
DIMS_INLINE void add_norm_rows(float* x, const float* update, size_t width, const float* gain, const float* bias,
                               int8_t* codes, float* scales, int32_t* sums) {
    Floats total[R], squares[R], largest[R];
    clear(total);
    for (size_t i = 0; i < width; i += kBlock)
        for (int row = 0; row < R; ++row) {
            Floats value = load(x + row * width + i) + load(update + row * width + i);
            store(x + row * width + i, value);
            total[row] += value;
        }
    float mean[R], factor[R];
    for (int row = 0; row < R; ++row) mean[row] = sum_of(total[row]) / static_cast<float>(width);
    clear(squares);
    for (size_t i = 0; i < width; i += kBlock)
        for (int row = 0; row < R; ++row) {
            Floats value = load(x + row * width + i) - mean[row];
            squares[row] += value * value;
        }
    for (int row = 0; row < R; ++row)
        factor[row] = 1.0f / __builtin_sqrtf(sum_of(squares[row]) / static_cast<float>(width) + 1e-5f);
    clear(largest);
    for (size_t i = 0; i < width; i += kBlock)
        for (int row = 0; row < R; ++row) {
            Floats value = ((load(x + row * width + i) - mean[row]) * factor[row]) * load(gain + i) + load(bias + i);
            store(x + row * width + i, value);
            largest[row] = larger(largest[row], magnitude(value));
        }
    for (int row = 0; row < R; ++row)
        quantize_row(x + row * width, width, largest_of(largest[row]), codes + row * width, scales + row, sums + row);
}

void add_norm(float* x, const float* update, size_t count, size_t width, const float* gain, const float* bias,
              int8_t* codes, float* scales, int32_t* sums) {
    constexpr size_t kRows = 4;
    size_t row = 0;
    for (; row + kRows <= count; row += kRows)
        add_norm_rows<kRows>(x + row * width, update + row * width, width, gain, bias, codes + row * width,
                                 scales + row, sums + row);
    for (; row < count; ++row)
        add_norm_rows<1>(x + row * width, update + row * width, width, gain, bias, codes + row * width, scales + row,
                         sums + row);
}

// What queries of one head look at: keys turned (head_size, keys), with zeros behind the sources, and values.
struct Head {
    float *turned, *scores;
    const float* values;  // (sources, value_stride), readable up to a multiple of 16
    size_t keys, width, value_stride;
};

// A block of 16 columns of 16 rows (fewer: zeros), turned.
DIMS_INLINE void turn_keys(const AttentionShape& shape, const float* k, size_t stride, const Head& head) {
    for (size_t first = 0; first < head.keys; first += kBlock) {
        size_t rows = shape.sources - first < kBlock ? shape.sources - first : kBlock;
        for (size_t d = 0; d < shape.head_size; ++d) {
            float* to = head.turned + d * head.keys + first;
            const float* from = k + first * stride + d;
            if (rows == kBlock)
                for (size_t j = 0; j < kBlock; ++j) to[j] = from[j * stride];
            else {
                store(to, Floats{});
                for (size_t j = 0; j < rows; ++j) to[j] = from[j * stride];
            }
        }
    }
}

// Values (sources, width) with zeros behind the head, where heads are no multiple of 16.
DIMS_INLINE void copy_values(const AttentionShape& shape, const float* v, size_t stride, size_t width, float* values) {
    for (size_t j = 0; j < shape.sources; ++j) {
        for (size_t d = 0; d < shape.head_size; ++d) values[j * width + d] = v[j * stride + d];
        for (size_t d = shape.head_size; d < width; ++d) values[j * width + d] = 0.0f;
    }
}

alignas(64) constexpr int32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Softmax of Q queries over the keys that each sees (`seen`), in place; the rest becomes 0. Queries go through every
// step side by side, since a step waits for the one before it.
template <int Q>
DIMS_INLINE void softmax(float* scores, const int32_t* seen, size_t keys) {
    Floats largest[Q], total[Q];
    clear(total);
    for (int query = 0; query < Q; ++query) largest[query] = spread(-3.0e38f);
    for (size_t j = 0; j < keys; j += kBlock)
        for (int query = 0; query < Q; ++query) {
            float* at = scores + query * keys + j;
            Ints is_seen = load_ints(kLanes) < seen[query] - static_cast<int32_t>(j);
            Floats value = select(is_seen, load(at), spread(-3.0e38f));
            store(at, value);
            largest[query] = larger(largest[query], value);
        }
    for (int query = 0; query < Q; ++query) largest[query] = spread(largest_of(largest[query]));
    for (size_t j = 0; j < keys; j += kBlock)
        for (int query = 0; query < Q; ++query) {
            float* at = scores + query * keys + j;
            // what is out of sight weighs exp(-87), which is nothing beside the largest, 1
            Floats value = exp_floats(load(at) - largest[query]);
            store(at, value);
            total[query] += value;
        }
    for (int query = 0; query < Q; ++query) total[query] = spread(1.0f / sum_of(total[query]));
    for (size_t j = 0; j < keys; j += kBlock)
        for (int query = 0; query < Q; ++query) {
            float* at = scores + query * keys + j;
            Ints is_seen = load_ints(kLanes) < seen[query] - static_cast<int32_t>(j);
            store(at, select(is_seen, load(at) * total[query], Floats{}));
        }
}

template <int Q>
void attend_queries(const AttentionShape& shape, const float* q, size_t q_stride, size_t first, const Head& head,
                    float* out, size_t out_stride) {
    for (size_t j = 0; j < head.keys; j += kBlock) {
        Floats sums[Q];
        clear(sums);
        for (size_t d = 0; d < shape.head_size; ++d) {
            Floats key = load(head.turned + d * head.keys + j);
            for (int query = 0; query < Q; ++query) sums[query] += key * q[query * q_stride + d];
        }
        for (int query = 0; query < Q; ++query) store(head.scores + query * head.keys + j, sums[query]);
    }
    int32_t seen[Q];
    for (int query = 0; query < Q; ++query)
        seen[query] = static_cast<int32_t>(shape.causal ? first + query + 1 : shape.sources);
    softmax<Q>(head.scores, seen, head.keys);
    for (size_t d = 0; d < head.width; d += kBlock) {
        Floats sums[Q];
        clear(sums);
        for (size_t j = 0; j < shape.sources; ++j) {
            Floats value = load(head.values + j * head.value_stride + d);
            for (int query = 0; query < Q; ++query) sums[query] += value * head.scores[query * head.keys + j];
        }
        size_t rest = shape.head_size - d < kBlock ? shape.head_size - d : kBlock;
        for (int query = 0; query < Q; ++query) {
            float* to = out + query * out_stride + d;
            if (rest == kBlock) {
                store(to, sums[query]);
            } else {
                float lanes[kBlock];
                store(lanes, sums[query]);
                for (size_t lane = 0; lane < rest; ++lane) to[lane] = lanes[lane];
            }
        }
    }
}

// Whose sums fit the registers, in one register each or in several.
constexpr size_t kTogether = kNative == 16 ? kQueries : kQueries / 2;

using QueryFunction = void (*)(const AttentionShape&, const float*, size_t, size_t, const Head&, float*, size_t);
constexpr QueryFunction kAttendQueries[kQueries] = {
    attend_queries<1>, attend_queries<2>, attend_queries<3>, attend_queries<4>,
#if defined(__AVX512F__)
    attend_queries<5>, attend_queries<6>, attend_queries<7>, attend_queries<8>,
#endif
};

void attend(const AttentionShape& shape, const float* q, size_t q_stride, const float* k, const float* v,
            size_t kv_stride, float* out, size_t out_stride, float* scratch) {
    Head head = {};
    head.keys = round_up(shape.sources, kBlock);
    head.width = round_up(shape.head_size, kBlock);
    head.turned = scratch;
    head.scores = scratch + shape.head_size * head.keys;
    float* values = head.scores + kQueries * head.keys;
    bool copies = head.width != shape.head_size;
    head.value_stride = copies ? head.width : kv_stride;
    size_t parts = (shape.targets + kTogether - 1) / kTogether;
    for (size_t offset = 0; offset < shape.heads * shape.head_size; offset += shape.head_size) {
        turn_keys(shape, k + offset, kv_stride, head);
        if (copies) copy_values(shape, v + offset, kv_stride, head.width, values);
        head.values = copies ? values : v + offset;
        for (size_t part = 0; part < parts; ++part) {
            size_t first = part * shape.targets / parts, count = (part + 1) * shape.targets / parts - first;
            kAttendQueries[count - 1](shape, q + first * q_stride + offset, q_stride, first, head,
                                      out + first * out_stride + offset, out_stride);
        }
    }
}

template <class Multiply>
constexpr Kernels make_kernels(const char* name) {
    return {name, accumulate<Multiply>, linear<Multiply>, find_best<Multiply>, quantize, add_norm, attend};
}

}  // namespace
