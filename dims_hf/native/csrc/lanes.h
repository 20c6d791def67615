// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// Sixteen floats or integers side by side, in as many registers as the processor needs for them.
//
// Compilers have vectors of any width, but take those that are wider than a register apart into single lanes where
// they are compared or converted. Here they are halved until they fit. Every operation does the same to every lane, and
// `sum_of` adds in the same order, so that all processors compute the same numbers.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "kernels.h"

namespace {

#if defined(__AVX512F__)
constexpr int kNative = 16;
#elif defined(__AVX2__)
constexpr int kNative = 8;
#else
constexpr int kNative = 4;
#endif

template <class T>
struct NativeLanes {
    typedef T type __attribute__((vector_size(4 * kNative)));
    typedef T loose __attribute__((vector_size(4 * kNative), aligned(4)));
};

typedef NativeLanes<float>::type NativeFloats;
typedef NativeLanes<int32_t>::type NativeInts;

template <class T, int N>
struct Halves;

template <class T, int N>
struct LanesOf {
    typedef Halves<T, N> type;
};
template <class T>
struct LanesOf<T, kNative> {
    typedef typename NativeLanes<T>::type type;
};

template <class T, int N>
struct Halves {
    typedef typename LanesOf<T, N / 2>::type Half;
    typedef Halves<int32_t, N> Mask;
    Half low, high;

#define DIMS_OPERATOR(op)                                                                                        \
    friend DIMS_INLINE Halves operator op(Halves a, Halves b) { return {a.low op b.low, a.high op b.high}; }     \
    friend DIMS_INLINE Halves operator op(Halves a, T b) { return {a.low op b, a.high op b}; }                   \
    friend DIMS_INLINE Halves operator op(T a, Halves b) { return {a op b.low, a op b.high}; }
    DIMS_OPERATOR(+)
    DIMS_OPERATOR(-)
    DIMS_OPERATOR(*)
#undef DIMS_OPERATOR
    friend DIMS_INLINE Halves operator-(Halves a) { return {-a.low, -a.high}; }
    friend DIMS_INLINE Halves operator<<(Halves a, int by) { return {a.low << by, a.high << by}; }
    friend DIMS_INLINE Mask operator<(Halves a, T b) { return {a.low < b, a.high < b}; }
    template <class Other>
    DIMS_INLINE Halves& operator+=(Other other) {
        return *this = *this + other;
    }
    template <class Other>
    DIMS_INLINE Halves& operator*=(Other other) {
        return *this = *this * other;
    }
};

typedef LanesOf<float, 16>::type Floats;
typedef LanesOf<int32_t, 16>::type Ints;

// Places in memory, of any alignment.
template <class Lanes>
struct Memory;

template <class T, int N>
struct Memory<Halves<T, N>> {
    typedef typename Halves<T, N>::Half Half;
    static DIMS_INLINE Halves<T, N> load(const T* from) {
        return {Memory<Half>::load(from), Memory<Half>::load(from + N / 2)};
    }
    static DIMS_INLINE void store(T* to, Halves<T, N> value) {
        Memory<Half>::store(to, value.low);
        Memory<Half>::store(to + N / 2, value.high);
    }
    static DIMS_INLINE Halves<T, N> spread(T value) {
        return {Memory<Half>::spread(value), Memory<Half>::spread(value)};
    }
};

// of a register
template <class T>
struct NativeMemory {
    typedef typename NativeLanes<T>::type Native;
    typedef typename NativeLanes<T>::loose Loose;
    static DIMS_INLINE Native load(const T* from) { return *reinterpret_cast<const Loose*>(from); }
    static DIMS_INLINE void store(T* to, Native value) { *reinterpret_cast<Loose*>(to) = value; }
    static DIMS_INLINE Native spread(T value) { return Native{} + value; }
};
template <>
struct Memory<NativeFloats> : NativeMemory<float> {};
template <>
struct Memory<NativeInts> : NativeMemory<int32_t> {};

DIMS_INLINE Floats load(const float* from) { return Memory<Floats>::load(from); }
DIMS_INLINE Ints load_ints(const int32_t* from) { return Memory<Ints>::load(from); }
DIMS_INLINE void store(float* to, Floats value) { Memory<Floats>::store(to, value); }
DIMS_INLINE void store_ints(int32_t* to, Ints value) { Memory<Ints>::store(to, value); }
DIMS_INLINE Floats spread(float value) { return Memory<Floats>::spread(value); }

// The larger of two, b where they are equal or one is no number.
DIMS_INLINE NativeFloats larger(NativeFloats a, NativeFloats b) { return a > b ? a : b; }
template <int N>
DIMS_INLINE Halves<float, N> larger(Halves<float, N> a, Halves<float, N> b) {
    return {larger(a.low, b.low), larger(a.high, b.high)};
}

DIMS_INLINE NativeFloats select(NativeInts mask, NativeFloats a, NativeFloats b) { return mask ? a : b; }
template <int N>
DIMS_INLINE Halves<float, N> select(Halves<int32_t, N> mask, Halves<float, N> a, Halves<float, N> b) {
    return {select(mask.low, a.low, b.low), select(mask.high, a.high, b.high)};
}

DIMS_INLINE NativeInts to_ints(NativeFloats value) { return __builtin_convertvector(value, NativeInts); }
template <int N>
DIMS_INLINE Halves<int32_t, N> to_ints(Halves<float, N> value) {
    return {to_ints(value.low), to_ints(value.high)};
}

DIMS_INLINE NativeFloats to_floats(NativeInts value) { return __builtin_convertvector(value, NativeFloats); }
template <int N>
DIMS_INLINE Halves<float, N> to_floats(Halves<int32_t, N> value) {
    return {to_floats(value.low), to_floats(value.high)};
}

// The floats of the same bits.
DIMS_INLINE NativeFloats with_bits(NativeInts value) { return (NativeFloats)value; }
template <int N>
DIMS_INLINE Halves<float, N> with_bits(Halves<int32_t, N> value) {
    return {with_bits(value.low), with_bits(value.high)};
}

// Lanes of a moved down by `by`, the lowest ones coming back on top.
template <int By, class Native>
DIMS_INLINE Native rotated(Native a) {
#define DIMS_LANE(i) ((i) + By) % kNative
#if defined(__AVX512F__)
#define DIMS_LANES                                                                                             \
    DIMS_LANE(0), DIMS_LANE(1), DIMS_LANE(2), DIMS_LANE(3), DIMS_LANE(4), DIMS_LANE(5), DIMS_LANE(6), DIMS_LANE(7), \
        DIMS_LANE(8), DIMS_LANE(9), DIMS_LANE(10), DIMS_LANE(11), DIMS_LANE(12), DIMS_LANE(13), DIMS_LANE(14),      \
        DIMS_LANE(15)
#elif defined(__AVX2__)
#define DIMS_LANES \
    DIMS_LANE(0), DIMS_LANE(1), DIMS_LANE(2), DIMS_LANE(3), DIMS_LANE(4), DIMS_LANE(5), DIMS_LANE(6), DIMS_LANE(7)
#else
#define DIMS_LANES DIMS_LANE(0), DIMS_LANE(1), DIMS_LANE(2), DIMS_LANE(3)
#endif
#if defined(__clang__)
    return __builtin_shufflevector(a, a, DIMS_LANES);
#else
    return __builtin_shuffle(a, NativeInts{DIMS_LANES});
#endif
#undef DIMS_LANES
#undef DIMS_LANE
}

// Halves are folded, so that the order of the additions is the same everywhere.
template <int N = kNative, class Native>
DIMS_INLINE auto sum_of(Native value) -> decltype(value[0] + value[0]) {
    if constexpr (N > 1) return sum_of<N / 2>(value + rotated<N / 2>(value));
    return value[0];
}
template <class T, int N>
DIMS_INLINE T sum_of(Halves<T, N> value) {
    return sum_of(value.low + value.high);
}

template <int N = kNative>
DIMS_INLINE float largest_of(NativeFloats value) {
    if constexpr (N > 1) return largest_of<N / 2>(larger(value, rotated<N / 2>(value)));
    return value[0];
}
template <int N>
DIMS_INLINE float largest_of(Halves<float, N> value) {
    return largest_of(larger(value.low, value.high));
}

DIMS_INLINE bool any_above(NativeFloats values, float threshold) {
    NativeInts above = values > threshold;
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)above, (__m512i)above) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)above) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)above) != 0;
#else
    return (above[0] | above[1] | above[2] | above[3]) != 0;
#endif
}
template <int N>
DIMS_INLINE bool any_above(Halves<float, N> values, float threshold) {
    return any_above(larger(values.low, values.high), threshold);
}

// Stores integers from -128 to 127 as bytes.
DIMS_INLINE void store_bytes(int8_t* to, Ints value) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8((__m512i)value));
#elif defined(__AVX2__)
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)value.low, (__m256i)value.high), 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
#elif defined(__SSE2__)
    __m128i low = _mm_packs_epi32((__m128i)value.low.low, (__m128i)value.low.high);
    __m128i high = _mm_packs_epi32((__m128i)value.high.low, (__m128i)value.high.high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(low, high));
#else
    int32_t lanes[16];
    store_ints(lanes, value);
    for (int lane = 0; lane < 16; ++lane) to[lane] = static_cast<int8_t>(lanes[lane]);
#endif
}

}  // namespace
