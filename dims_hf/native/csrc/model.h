// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// A model file in memory: checked once, then only read. docs/native.md describes the format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "json.h"
#include "kernels.h"

namespace dims {

// A bias below this excludes a token.
constexpr float kExcluded = -1e29f;

struct Norm {
    const float *gain, *bias;
};

struct SelfAttention {
    Matrix query_key_value, out;
    Norm norm;
    bool causal;
};

struct CrossAttention {
    Matrix query, key_value, out;
    Norm norm;
};

struct FeedForward {
    Matrix inner, outer;
    Norm norm;
};

struct EncoderLayer {
    SelfAttention attention;
    FeedForward feed_forward;
};

struct DecoderLayer {
    std::vector<SelfAttention> attentions;
    CrossAttention cross;
    FeedForward feed_forward;
};

struct Stack {
    const float* positions;  // (max_positions, width)
    Matrix projection;       // of token and position side by side; no codes where they are added
    size_t heads;
};

struct Shortlist {
    const int32_t *by_source = nullptr, *always = nullptr;
    size_t per_source = 0, num_always = 0;
};

struct Settings {
    size_t width, inner, vocab_size, max_positions, num_length_classes, upsample_ratio;
    int32_t bos, pad, eos, mask, blank;
    int32_t shortest_length, longest_length;
    bool predicts_length, update_all_positions, legacy_adjacency, is_relu;
    float embedding_scale;
};

// Memory of whole huge pages where the system has them.
class Memory {
  public:
    explicit Memory(size_t size);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    unsigned char* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    unsigned char* data_;
    size_t size_, mapped_;
};

class Model {
  public:
    // Raises Refusal, which names the file, for anything but a sound model.
    explicit Model(const std::string& path);

    Settings settings;
    Stack encoder, decoder;
    std::vector<EncoderLayer> encoder_layers;
    std::vector<DecoderLayer> decoder_layers;
    Matrix table;  // embeddings and vocabulary projection; the bias excludes what is never predicted
    const float* length_head = nullptr;  // (num_length_classes, width)
    Shortlist shortlist;

  private:
    void read(const std::string& path);
    void read_settings(const Json& header);
    void read_layers(const Json& header);
    const unsigned char* blob(const std::string& name, size_t size);
    const float* floats(const std::string& name, size_t count, bool non_negative = false);
    const int32_t* ids(const std::string& name, size_t count);
    Matrix matrix(const std::string& name, size_t outputs, size_t inputs);
    Norm norm(const std::string& name);
    FeedForward feed_forward(const std::string& name, size_t inner);
    SelfAttention self_attention(const std::string& name, bool causal);
    Stack stack(const std::string& name, size_t heads, bool projects_positions);

    std::unique_ptr<Memory> memory_;
    const unsigned char* data_ = nullptr;
    size_t data_size_ = 0;
    Json tensors_;
};

uint32_t crc32_of(const unsigned char* data, size_t size);

}  // namespace dims
