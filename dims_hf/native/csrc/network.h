// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The network: encoder, length prediction, and one decoder pass, over sentences laid end to end.
//
// A sentence's numbers depend on nothing but the sentence: rows are quantised, normalised and multiplied one by one,
// integer sums are exact, and attention stays within a sentence.
#pragma once

#include <vector>

#include "model.h"

namespace dims {

// A piece of an array of rows.
struct Span {
    size_t first, count;
};

// Decoder input of one candidate: a target, the sentence it belongs to, and the positions to predict.
struct Target {
    size_t sentence;
    const std::vector<int32_t>* tokens;
    const std::vector<size_t>* positions;
};

// Rows (count, width) of numbers, and their codes.
struct States {
    std::vector<float> values, scales;
    std::vector<int8_t> codes;
    std::vector<int32_t> sums;
    size_t count = 0, width = 0;

    void resize(size_t new_count, size_t new_width);
    // Writes rows [first, first + count) of `from` over those from `to` on.
    void copy_rows(const States& from, size_t first, size_t count, size_t to);
    Rows rows() const { return {codes.data(), scales.data(), sums.data(), count, width}; }
};

// What a target of masks alone is after the first layer's attention to itself, and what it then asks the source: both
// depend on its length alone.
struct Start {
    States states;
    std::vector<float> queries;
};

// Scratch of one thread; it only grows.
struct Workspace {
    States source, target, coded;
    std::vector<Start> starts;  // by length, those without rows not made yet
    size_t num_start_rows = 0;
    std::vector<float> projected, attended, update, key_values, scratch;
    std::vector<uint8_t> listed_codes;
    std::vector<float> listed_scales, listed_bias;
};

class Network {
  public:
    Network(const Model& model, const Kernels& kernels, Workspace& workspace)
        : model_(model), kernels_(kernels), w_(workspace) {}

    // Encodes sentences, token ids laid end to end, and projects the decoder's keys and values.
    void encode(const int32_t* ids, const std::vector<Span>& sentences);

    // Logits (num_length_classes) of an encoded sentence.
    std::vector<float> length_logits(size_t sentence) const;

    // Likeliest tokens at the positions of all targets, in their order. Targets of a sentence follow one another.
    // Columns are token ids, -1 where there are fewer tokens.
    void predict(const std::vector<Target>& targets, int num_best, bool with_sum, bool use_shortlist,
                 std::vector<Best>& best);

  private:
    void embed(const Stack& stack, const int32_t* ids, size_t count, size_t first, States& states);
    void embed_row(const Stack& stack, int32_t id, size_t position, float* token, float* place) const;
    void finish_embedding(const Stack& stack, States& states);
    void attend_self(const SelfAttention& attention, size_t heads, const std::vector<Span>& spans, States& states);
    void begin(const std::vector<Target>& targets, const std::vector<Span>& spans);
    bool begin_with_starts(const std::vector<Target>& targets, const std::vector<Span>& spans);
    bool make_start(const std::vector<int32_t>& tokens);
    void attend_targets(size_t layer, const std::vector<Span>& spans);
    void attend_source(size_t layer, const std::vector<Target>& targets, const std::vector<Span>& spans);
    void finish_attention(const Matrix& out, const Norm& norm, States& states);
    void feed_forward(const FeedForward& layer, States& states);
    void keep_predicted(const std::vector<Target>& targets, const std::vector<Span>& spans);
    Matrix listed_matrix(size_t sentence, std::vector<int32_t>& ids);
    void find_listed(const std::vector<Target>& targets, int num_best, bool with_sum, std::vector<Best>& best);
    float* grown(std::vector<float>& buffer, size_t size);

    const Model& model_;
    const Kernels& kernels_;
    Workspace& w_;
    std::vector<Span> sentences_;
    const int32_t* source_ids_ = nullptr;
};

}  // namespace dims
