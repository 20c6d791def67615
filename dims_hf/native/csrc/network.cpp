// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
#include "network.h"

#include <string.h>

#include <algorithm>
#include <cmath>

namespace dims {

namespace {

void apply_gelu(float* values, size_t count) {
    for (size_t i = 0; i < count; ++i)
        values[i] = 0.5f * values[i] * (1.0f + std::erf(values[i] * 0.70710678f));
}

// Columns of `best` become ids; what is no token, -1.
void name_tokens(Best& best, int num_best, const Matrix& matrix, const int32_t* ids, size_t num_ids) {
    for (int place = 0; place < num_best; ++place) {
        size_t column = static_cast<size_t>(best.columns[place]);
        bool is_token = column < num_ids && matrix.bias[column] > kExcluded && best.logits[place] > kExcluded;
        best.columns[place] = !is_token ? -1 : ids == nullptr ? best.columns[place] : ids[column];
    }
    for (int place = num_best; place < kMaxBest; ++place) best.columns[place] = -1;
}

// Floats from row to row of keys and values: rows a power of two apart would share few lines of the cache.
size_t padded(size_t width) { return width + kBlock; }

// Rows that a thread keeps of targets of masks alone: all lengths up to 63, if all occur.
constexpr size_t kMostStartRows = 2048;

// Whether nothing is there yet but masks, between `<s>` and `</s>` where lengths are predicted.
bool is_start(const Settings& s, const std::vector<int32_t>& tokens) {
    size_t ends = s.predicts_length ? 1 : 0;
    if (tokens.size() < 2 * ends) return false;
    if (ends != 0 && (tokens.front() != s.bos || tokens.back() != s.eos)) return false;
    return std::all_of(tokens.begin() + ends, tokens.end() - ends, [&](int32_t token) { return token == s.mask; });
}

}  // namespace

void States::resize(size_t new_count, size_t new_width) {
    count = new_count;
    width = new_width;
    if (values.size() < count * width) values.resize(count * width);
    if (codes.size() < count * width) codes.resize(count * width);
    if (scales.size() < count) {
        scales.resize(count);
        sums.resize(count);
    }
}

void States::copy_rows(const States& from, size_t first, size_t count, size_t to) {
    std::copy_n(from.values.begin() + first * width, count * width, values.begin() + to * width);
    std::copy_n(from.codes.begin() + first * width, count * width, codes.begin() + to * width);
    std::copy_n(from.scales.begin() + first, count, scales.begin() + to);
    std::copy_n(from.sums.begin() + first, count, sums.begin() + to);
}

float* Network::grown(std::vector<float>& buffer, size_t size) {
    if (buffer.size() < size) buffer.resize(size);
    return buffer.data();
}

// Values of the scaled token embedding, read from the coded table, and of the position table.
void Network::embed_row(const Stack& stack, int32_t id, size_t position, float* token, float* place) const {
    const Settings& s = model_.settings;
    const uint8_t* codes = model_.table.codes + id / kBlock * model_.table.block_bytes() + id % kBlock * kGroup;
    float scale = model_.table.scales[id] * s.embedding_scale;
    const float* positions = stack.positions + position * s.width;
    bool adds = token == place;
    for (size_t i = 0; i < s.width; i += kGroup, codes += kBlock * kGroup)
        for (size_t k = 0; k < kGroup; ++k)
            token[i + k] = scale * static_cast<float>(codes[k] - 128) + (adds ? positions[i + k] : 0.0f);
    if (!adds) memcpy(place, positions, s.width * sizeof(float));
}

// Rows [first, first + count) of `states`: they are one sentence, whose positions count from 0.
void Network::embed(const Stack& stack, const int32_t* ids, size_t count, size_t first, States& states) {
    size_t width = model_.settings.width;
    bool projects = stack.projection.codes != nullptr;
    float* to = (projects ? w_.attended.data() : states.values.data()) + first * width * (projects ? 2 : 1);
    for (size_t i = 0; i < count; ++i)
        embed_row(stack, ids[i], i, to + i * width * (projects ? 2 : 1),
                  projects ? to + (2 * i + 1) * width : to + i * width);
}

void Network::finish_embedding(const Stack& stack, States& states) {
    size_t width = model_.settings.width;
    if (stack.projection.codes != nullptr) {
        w_.coded.resize(states.count, 2 * width);
        kernels_.quantize(w_.attended.data(), states.count, 2 * width, w_.coded.codes.data(), w_.coded.scales.data(),
                          w_.coded.sums.data());
        kernels_.linear(w_.coded.rows(), stack.projection, Activation::kNone, states.values.data(), width);
    }
    kernels_.quantize(states.values.data(), states.count, width, states.codes.data(), states.scales.data(),
                      states.sums.data());
}

void Network::encode(const int32_t* ids, const std::vector<Span>& sentences) {
    const Settings& s = model_.settings;
    sentences_ = sentences;
    source_ids_ = ids;
    size_t count = sentences.back().first + sentences.back().count;
    States& states = w_.source;
    states.resize(count, s.width);
    grown(w_.attended, 2 * count * s.width);
    for (const Span& span : sentences) embed(model_.encoder, ids + span.first, span.count, span.first, states);
    finish_embedding(model_.encoder, states);
    for (const EncoderLayer& layer : model_.encoder_layers) {
        attend_self(layer.attention, model_.encoder.heads, sentences, states);
        feed_forward(layer.feed_forward, states);
    }
    size_t stride = padded(2 * s.width), layers = model_.decoder_layers.size();
    float* key_values = grown(w_.key_values, layers * count * stride);
    for (size_t layer = 0; layer < layers; ++layer)
        kernels_.linear(states.rows(), model_.decoder_layers[layer].cross.key_value, Activation::kNone,
                        key_values + layer * count * stride, stride);
}

void Network::attend_self(const SelfAttention& attention, size_t heads, const std::vector<Span>& spans,
                          States& states) {
    size_t width = states.width, stride = padded(3 * width);
    float* projected = grown(w_.projected, states.count * stride);
    float* attended = grown(w_.attended, states.count * width);
    kernels_.linear(states.rows(), attention.query_key_value, Activation::kNone, projected, stride);
    for (const Span& span : spans) {
        AttentionShape shape = {span.count, span.count, heads, width / heads, attention.causal};
        const float* from = projected + span.first * stride;
        kernels_.attend(shape, from, stride, from + width, from + 2 * width, stride, attended + span.first * width,
                        width, grown(w_.scratch, attention_scratch(shape)));
    }
    finish_attention(attention.out, attention.norm, states);
}

// Attention of targets to themselves, and the queries of their attention to the sources, in `projected`.
void Network::attend_targets(size_t layer, const std::vector<Span>& spans) {
    const DecoderLayer& parts = model_.decoder_layers[layer];
    States& states = w_.target;
    for (const SelfAttention& attention : parts.attentions)
        attend_self(attention, model_.decoder.heads, spans, states);
    float* queries = grown(w_.projected, states.count * states.width);
    kernels_.linear(states.rows(), parts.cross.query, Activation::kNone, queries, states.width);
}

// The decoder up to its first look at the sources.
void Network::begin(const std::vector<Target>& targets, const std::vector<Span>& spans) {
    States& states = w_.target;
    states.resize(spans.back().first + spans.back().count, model_.settings.width);
    grown(w_.attended, 2 * states.count * states.width);
    for (size_t i = 0; i < targets.size(); ++i)
        embed(model_.decoder, targets[i].tokens->data(), spans[i].count, spans[i].first, states);
    finish_embedding(model_.decoder, states);
    attend_targets(0, spans);
}

// Keeps what targets of a length begin with, unless there is too much of it already.
bool Network::make_start(const std::vector<int32_t>& tokens) {
    size_t length = tokens.size();
    if (w_.starts.size() <= length) w_.starts.resize(length + 1);
    Start& start = w_.starts[length];
    if (start.states.count == length) return true;
    if (w_.num_start_rows + length > kMostStartRows) return false;
    begin({{0, &tokens, nullptr}}, {{0, length}});
    const States& made = w_.target;
    start.queries.assign(w_.projected.begin(), w_.projected.begin() + length * made.width);
    start.states.resize(length, made.width);
    start.states.copy_rows(made, 0, length, 0);
    w_.num_start_rows += length;
    return true;
}

// `begin`, from what is kept of earlier targets; false where not all of them are masks alone.
bool Network::begin_with_starts(const std::vector<Target>& targets, const std::vector<Span>& spans) {
    for (const Target& target : targets)
        if (!is_start(model_.settings, *target.tokens) || !make_start(*target.tokens)) return false;
    States& states = w_.target;
    states.resize(spans.back().first + spans.back().count, model_.settings.width);
    float* queries = grown(w_.projected, states.count * states.width);
    for (const Span& span : spans) {
        const Start& start = w_.starts[span.count];
        std::copy_n(start.queries.begin(), span.count * states.width, queries + span.first * states.width);
        states.copy_rows(start.states, 0, span.count, span.first);
    }
    return true;
}

// The queries are in `projected`.
void Network::attend_source(size_t layer, const std::vector<Target>& targets, const std::vector<Span>& spans) {
    const CrossAttention& cross = model_.decoder_layers[layer].cross;
    States& states = w_.target;
    size_t width = states.width, heads = model_.decoder.heads, stride = padded(2 * width);
    const float* query = w_.projected.data();
    float* attended = grown(w_.attended, states.count * width);
    for (size_t i = 0; i < targets.size(); ++i) {
        const Span& source = sentences_[targets[i].sentence];
        AttentionShape shape = {spans[i].count, source.count, heads, width / heads, false};
        const float* keys = w_.key_values.data() + (layer * w_.source.count + source.first) * stride;
        kernels_.attend(shape, query + spans[i].first * width, width, keys, keys + width, stride,
                        attended + spans[i].first * width, width, grown(w_.scratch, attention_scratch(shape)));
    }
    finish_attention(cross.out, cross.norm, states);
}

void Network::finish_attention(const Matrix& out, const Norm& norm, States& states) {
    size_t width = states.width;
    w_.coded.resize(states.count, width);
    kernels_.quantize(w_.attended.data(), states.count, width, w_.coded.codes.data(), w_.coded.scales.data(),
                      w_.coded.sums.data());
    float* update = grown(w_.update, states.count * width);
    kernels_.linear(w_.coded.rows(), out, Activation::kNone, update, width);
    kernels_.add_norm(states.values.data(), update, states.count, width, norm.gain, norm.bias, states.codes.data(),
                      states.scales.data(), states.sums.data());
}

void Network::feed_forward(const FeedForward& layer, States& states) {
    size_t width = states.width, inner = layer.outer.inputs;
    float* hidden = grown(w_.projected, states.count * inner);
    bool is_relu = model_.settings.is_relu;
    kernels_.linear(states.rows(), layer.inner, is_relu ? Activation::kRelu : Activation::kNone, hidden, inner);
    if (!is_relu) apply_gelu(hidden, states.count * inner);
    w_.coded.resize(states.count, inner);
    kernels_.quantize(hidden, states.count, inner, w_.coded.codes.data(), w_.coded.scales.data(),
                      w_.coded.sums.data());
    float* update = grown(w_.update, states.count * width);
    kernels_.linear(w_.coded.rows(), layer.outer, Activation::kNone, update, width);
    kernels_.add_norm(states.values.data(), update, states.count, width, layer.norm.gain, layer.norm.bias,
                      states.codes.data(), states.scales.data(), states.sums.data());
}

std::vector<float> Network::length_logits(size_t sentence) const {
    const Settings& s = model_.settings;
    const Span& span = sentences_[sentence];
    std::vector<float> mean(s.width), logits(s.num_length_classes);
    for (size_t row = span.first; row < span.first + span.count; ++row)
        for (size_t i = 0; i < s.width; ++i) mean[i] += w_.source.values[row * s.width + i];
    for (float& value : mean) value /= static_cast<float>(span.count);
    for (size_t length = 0; length < logits.size(); ++length) {
        const float* weights = model_.length_head + length * s.width;
        float lanes[kBlock] = {};
        for (size_t i = 0; i < s.width; i += kBlock)
            for (size_t lane = 0; lane < kBlock; ++lane) lanes[lane] += mean[i + lane] * weights[i + lane];
        for (float lane : lanes) logits[length] += lane;
    }
    return logits;
}

// After the last attention only the positions to predict go on.
void Network::keep_predicted(const std::vector<Target>& targets, const std::vector<Span>& spans) {
    States& states = w_.target;
    size_t to = 0;
    for (size_t i = 0; i < targets.size(); ++i)
        for (size_t position : *targets[i].positions) {
            size_t from = spans[i].first + position;  // never before `to`
            if (from != to) states.copy_rows(states, from, 1, to);
            ++to;
        }
    states.count = to;
}

void Network::predict(const std::vector<Target>& targets, int num_best, bool with_sum, bool use_shortlist,
                      std::vector<Best>& best) {
    const Settings& s = model_.settings;
    States& states = w_.target;
    std::vector<Span> spans;
    size_t count = 0;
    for (const Target& target : targets) {
        spans.push_back({count, target.tokens->size()});
        count += target.tokens->size();
    }
    if (!begin_with_starts(targets, spans)) begin(targets, spans);
    for (size_t layer = 0; layer < model_.decoder_layers.size(); ++layer) {
        if (layer > 0) attend_targets(layer, spans);
        attend_source(layer, targets, spans);
        if (layer + 1 == model_.decoder_layers.size()) keep_predicted(targets, spans);
        feed_forward(model_.decoder_layers[layer].feed_forward, states);
    }
    best.resize(states.count);
    if (use_shortlist && model_.shortlist.by_source != nullptr) {
        find_listed(targets, num_best, with_sum, best);
        return;
    }
    kernels_.find_best(states.rows(), model_.table, num_best, with_sum, best.data());
    for (Best& each : best) name_tokens(each, num_best, model_.table, nullptr, s.vocab_size);
}

// The rows of the table that a sentence's shortlist names, and their ids, ascending.
Matrix Network::listed_matrix(size_t sentence, std::vector<int32_t>& ids) {
    const Shortlist& list = model_.shortlist;
    ids.assign(list.always, list.always + list.num_always);
    const Span& span = sentences_[sentence];
    for (size_t i = span.first; i < span.first + span.count; ++i) {
        const int32_t* row = list.by_source + source_ids_[i] * list.per_source;
        ids.insert(ids.end(), row, row + list.per_source);
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    Matrix result;
    result.inputs = model_.table.inputs;
    result.blocks = round_up(ids.size(), kBlock) / kBlock;
    w_.listed_codes.resize(result.blocks * result.block_bytes());
    w_.listed_scales.assign(result.blocks * kBlock, 0.0f);
    w_.listed_bias.assign(result.blocks * kBlock, -1e30f);
    for (size_t column = 0; column < result.blocks * kBlock; ++column) {
        uint8_t* to = w_.listed_codes.data() + column / kBlock * result.block_bytes() + column % kBlock * kGroup;
        int32_t id = column < ids.size() ? ids[column] : 0;
        const uint8_t* from =
            model_.table.codes + id / kBlock * model_.table.block_bytes() + id % kBlock * kGroup;
        for (size_t i = 0; i < result.inputs * kBlock; i += kBlock * kGroup) memcpy(to + i, from + i, kGroup);
        if (column < ids.size()) {
            w_.listed_scales[column] = model_.table.scales[id];
            w_.listed_bias[column] = model_.table.bias[id];
        }
    }
    result.codes = w_.listed_codes.data();
    result.scales = w_.listed_scales.data();
    result.bias = w_.listed_bias.data();
    return result;
}

void Network::find_listed(const std::vector<Target>& targets, int num_best, bool with_sum, std::vector<Best>& best) {
    std::vector<int32_t> ids;
    Rows rows = w_.target.rows();
    size_t first = 0;
    for (size_t i = 0; i < targets.size();) {
        size_t sentence = targets[i].sentence, count = 0;
        for (; i < targets.size() && targets[i].sentence == sentence; ++i) count += targets[i].positions->size();
        Matrix listed = listed_matrix(sentence, ids);
        Rows some = {rows.codes + first * rows.width, rows.scales + first, rows.sums + first, count, rows.width};
        kernels_.find_best(some, listed, num_best, with_sum, best.data() + first);
        for (size_t row = first; row < first + count; ++row)
            name_tokens(best[row], num_best, listed, ids.data(), ids.size());
        first += count;
    }
}

}  // namespace dims
