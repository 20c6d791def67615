// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmath>
#include <new>

namespace dims {

namespace {

constexpr char kMagic[8] = {'D', 'I', 'M', 'S', 'N', 'A', 'T', '\n'};
constexpr uint32_t kVersion = 1;
constexpr size_t kAlignment = 64, kPrefix = 24, kHugePage = size_t(2) << 20;

// Beyond these nothing is a translation model, and products of sizes cannot overflow.
constexpr long long kMostWidth = 16384, kMostVocabulary = 4000000, kMostPositions = 1000000, kMostLayers = 1024;

struct CrcTable {
    uint32_t rows[8][256];
    CrcTable() {
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320u : 0);
            rows[0][i] = value;
        }
        for (int row = 1; row < 8; ++row)
            for (int i = 0; i < 256; ++i)
                rows[row][i] = (rows[row - 1][i] >> 8) ^ rows[0][rows[row - 1][i] & 0xff];
    }
};

uint32_t read_u32(const unsigned char* from) {
    return from[0] | uint32_t(from[1]) << 8 | uint32_t(from[2]) << 16 | uint32_t(from[3]) << 24;
}

struct File {
    FILE* handle;
    explicit File(const std::string& path) : handle(fopen(path.c_str(), "rb")) {
        if (handle == nullptr) throw Refusal(strerror(errno));
    }
    ~File() { fclose(handle); }
    size_t size() {
        if (fseek(handle, 0, SEEK_END) != 0) throw Refusal("it cannot be read");
        long end = ftell(handle);
        if (end < 0 || fseek(handle, 0, SEEK_SET) != 0) throw Refusal("it cannot be read");
        return static_cast<size_t>(end);
    }
};

}  // namespace

// Eight bytes at a time, as "slicing by 8".
uint32_t crc32_of(const unsigned char* data, size_t size) {
    static const CrcTable table;
    uint32_t crc = 0xffffffffu;
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low = read_u32(data) ^ crc, high = read_u32(data + 4);
        crc = table.rows[7][low & 0xff] ^ table.rows[6][(low >> 8) & 0xff] ^ table.rows[5][(low >> 16) & 0xff] ^
              table.rows[4][low >> 24] ^ table.rows[3][high & 0xff] ^ table.rows[2][(high >> 8) & 0xff] ^
              table.rows[1][(high >> 16) & 0xff] ^ table.rows[0][high >> 24];
    }
    for (; size > 0; ++data, --size) crc = (crc >> 8) ^ table.rows[0][(crc ^ *data) & 0xff];
    return ~crc;
}

Memory::Memory(size_t size) : size_(size), mapped_(round_up(size, kHugePage) + kHugePage) {
    // One huge page more than needed, so that the data can start at one.
    void* start = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) throw std::bad_alloc();
    uintptr_t first = reinterpret_cast<uintptr_t>(start), aligned = round_up(first, kHugePage);
    size_t before = aligned - first, after = kHugePage - before;
    if (before > 0) munmap(start, before);
    if (after > 0) munmap(reinterpret_cast<void*>(aligned + mapped_ - kHugePage), after);
    mapped_ -= kHugePage;
    data_ = reinterpret_cast<unsigned char*>(aligned);
#if defined(MADV_HUGEPAGE)
    madvise(data_, mapped_, MADV_HUGEPAGE);  // a wish: without huge pages all is the same, a little slower
#endif
}

Memory::~Memory() { munmap(data_, mapped_); }

Model::Model(const std::string& path) {
    try {
        read(path);
    } catch (const Refusal& error) {
        throw Refusal(path + " is no usable model file: " + error.what() + ". Export the model again.");
    }
}

void Model::read(const std::string& path) {
    File file(path);
    size_t size = file.size();
    if (size < kPrefix) throw Refusal("it has only " + std::to_string(size) + " bytes");
    memory_ = std::make_unique<Memory>(size);
    if (fread(memory_->data(), 1, size, file.handle) != size) throw Refusal("it cannot be read");
    const unsigned char* start = memory_->data();
    if (memcmp(start, kMagic, sizeof kMagic) != 0) throw Refusal("it does not start as one");
    if (read_u32(start + 8) != kVersion)
        throw Refusal("it has version " + std::to_string(read_u32(start + 8)) + ", not " + std::to_string(kVersion));
    size_t header_size = read_u32(start + 16);
    if (read_u32(start + 20) != 0 || header_size > size - kPrefix) throw Refusal("it is cut off in its header");
    const unsigned char* text = start + kPrefix;
    if (crc32_of(text, header_size) != read_u32(start + 12)) throw Refusal("its header is damaged");
    Json header = parse_json(std::string(reinterpret_cast<const char*>(text), header_size));
    size_t data_start = round_up(kPrefix + header_size, kAlignment);
    data_size_ = static_cast<size_t>(header.integer("data_bytes", 0, 1ll << 40));
    if (data_start > size || size - data_start != data_size_)
        throw Refusal("it should have " + std::to_string(data_start + data_size_) + " bytes, not " +
                      std::to_string(size));
    for (size_t i = kPrefix + header_size; i < data_start; ++i)
        if (start[i] != 0) throw Refusal("its header is damaged");
    data_ = start + data_start;
    if (crc32_of(data_, data_size_) != static_cast<uint32_t>(header.integer("data_crc32", 0, 0xffffffffll)))
        throw Refusal("its weights are damaged");
    tensors_ = header.at("tensors");
    read_settings(header.at("settings"));
    read_layers(header.at("settings"));
}

void Model::read_settings(const Json& header) {
    Settings& s = settings;
    s.width = header.integer("d_model", kBlock, kMostWidth);
    s.vocab_size = header.integer("vocab_size", 1, kMostVocabulary);
    s.max_positions = header.integer("max_position_embeddings", 3, kMostPositions);
    if (s.width % kBlock != 0) throw Refusal("'d_model' is no multiple of 16");
    const std::string& family = header.string("family");
    if (family != "mask-predict" && family != "alignment") throw Refusal("its family '" + family + "' is unknown");
    s.predicts_length = family == "mask-predict";
    const std::string& activation = header.string("activation_function");
    if (activation != "relu" && activation != "gelu") throw Refusal("its activation '" + activation + "' is unknown");
    s.is_relu = activation == "relu";
    s.update_all_positions = header.boolean("update_all_positions");
    s.embedding_scale = static_cast<float>(header.real("embedding_scale"));
    long long last = static_cast<long long>(s.vocab_size) - 1;
    auto token = [&](const char* name) { return static_cast<int32_t>(header.integer(name, 0, last)); };
    s.bos = token("bos_token_id");
    s.pad = token("pad_token_id");
    s.eos = token("eos_token_id");
    s.mask = token("mask_token_id");
    s.blank = -1;
    s.num_length_classes = 0;
    s.upsample_ratio = 0;
    s.legacy_adjacency = false;
    s.shortest_length = s.longest_length = 0;
    long long positions = static_cast<long long>(s.max_positions);
    if (s.predicts_length) {
        s.num_length_classes = header.integer("max_target_length", 1, kMostPositions);
        s.shortest_length = static_cast<int32_t>(header.integer("shortest_length", 2, positions));
        s.longest_length = static_cast<int32_t>(header.integer("longest_length", s.shortest_length, positions));
    } else {
        s.blank = token("blank_token_id");
        s.upsample_ratio = header.integer("upsample_ratio", 1, positions);
        s.legacy_adjacency = header.boolean("legacy_adjacency");
    }
}

void Model::read_layers(const Json& header) {
    const Settings& s = settings;
    bool projects = header.boolean("projects_positions"), has_unmasked = header.boolean("has_unmasked_attention");
    auto heads = [&](const char* name) -> size_t {
        size_t count = header.integer(name, 1, kMostWidth);
        if (s.width % count != 0) throw Refusal(std::string("'") + name + "' does not divide d_model");
        return count;
    };
    encoder = stack("encoder", heads("encoder_attention_heads"), projects);
    decoder = stack("decoder", heads("decoder_attention_heads"), projects);
    size_t inner = header.integer("encoder_ffn_dim", kBlock, 4 * kMostWidth);
    for (long long i = 0, count = header.integer("encoder_layers", 0, kMostLayers); i < count; ++i) {
        std::string name = "encoder." + std::to_string(i);
        encoder_layers.push_back({self_attention(name + ".self_attn", false), feed_forward(name, inner)});
    }
    inner = header.integer("decoder_ffn_dim", kBlock, 4 * kMostWidth);
    for (long long i = 0, count = header.integer("decoder_layers", 1, kMostLayers); i < count; ++i) {
        std::string name = "decoder." + std::to_string(i), cross = name + ".encoder_attn";
        DecoderLayer layer;
        if (has_unmasked) layer.attentions.push_back(self_attention(name + ".self_attn_unmasked", false));
        layer.attentions.push_back(self_attention(name + ".self_attn", has_unmasked));
        layer.cross = {matrix(cross + ".q", s.width, s.width), matrix(cross + ".kv", 2 * s.width, s.width),
                       matrix(cross + ".out", s.width, s.width), norm(cross)};
        layer.feed_forward = feed_forward(name, inner);
        decoder_layers.push_back(layer);
    }
    settings.inner = std::max(static_cast<size_t>(header.integer("encoder_ffn_dim", kBlock, 4 * kMostWidth)), inner);
    table = matrix("table", s.vocab_size, s.width);
    for (size_t i = s.vocab_size; i < table.blocks * kBlock; ++i)
        if (table.bias[i] > kExcluded) throw Refusal("'table' has a column that is no token");
    if (s.predicts_length) length_head = floats("length_head", s.num_length_classes * s.width);
    if (header.has("shortlist_per_source")) {
        shortlist.per_source = header.integer("shortlist_per_source", 1, kMostVocabulary);
        shortlist.num_always = header.integer("shortlist_num_always", 0, kMostVocabulary);
        shortlist.by_source = ids("shortlist.by_source", s.vocab_size * shortlist.per_source);
        shortlist.always = ids("shortlist.always", shortlist.num_always);
    }
}

const unsigned char* Model::blob(const std::string& name, size_t size) {
    const Json& entry = tensors_.at(name);
    size_t offset = static_cast<size_t>(entry.integer("offset", 0, 1ll << 40));
    size_t stored = static_cast<size_t>(entry.integer("bytes", 0, 1ll << 40));
    if (stored != size) throw Refusal("'" + name + "' has another size than the model");
    if (offset % kAlignment != 0 || offset > data_size_ || size > data_size_ - offset)
        throw Refusal("'" + name + "' lies outside of the file");
    return data_ + offset;
}

const float* Model::floats(const std::string& name, size_t count, bool non_negative) {
    const float* values = reinterpret_cast<const float*>(blob(name, count * sizeof(float)));
    for (size_t i = 0; i < count; ++i)
        if (!(std::fabs(values[i]) <= 1e30f) || (non_negative && values[i] < 0))
            throw Refusal("'" + name + "' holds a number that no model has");
    return values;
}

const int32_t* Model::ids(const std::string& name, size_t count) {
    const int32_t* values = reinterpret_cast<const int32_t*>(blob(name, count * sizeof(int32_t)));
    for (size_t i = 0; i < count; ++i)
        if (values[i] < 0 || static_cast<size_t>(values[i]) >= settings.vocab_size)
            throw Refusal("'" + name + "' holds an id outside of the vocabulary");
    return values;
}

Matrix Model::matrix(const std::string& name, size_t outputs, size_t inputs) {
    if (inputs % kBlock != 0) throw Refusal("'" + name + "' has a width that is no multiple of 16");
    Matrix result;
    result.inputs = inputs;
    result.blocks = round_up(outputs, kBlock) / kBlock;
    result.codes = blob(name + ".codes", result.blocks * result.block_bytes());
    result.scales = floats(name + ".scales", result.blocks * kBlock, true);
    result.bias = floats(name + ".bias", result.blocks * kBlock);
    return result;
}

Norm Model::norm(const std::string& name) {
    return {floats(name + ".norm.gain", settings.width), floats(name + ".norm.bias", settings.width)};
}

FeedForward Model::feed_forward(const std::string& name, size_t inner) {
    return {matrix(name + ".fc1", inner, settings.width), matrix(name + ".fc2", settings.width, inner), norm(name)};
}

SelfAttention Model::self_attention(const std::string& name, bool causal) {
    return {matrix(name + ".qkv", 3 * settings.width, settings.width),
            matrix(name + ".out", settings.width, settings.width), norm(name), causal};
}

Stack Model::stack(const std::string& name, size_t heads, bool projects_positions) {
    Stack result = {floats(name + ".positions", settings.max_positions * settings.width), {}, heads};
    if (projects_positions) result.projection = matrix(name + ".projection", settings.width, 2 * settings.width);
    return result;
}

}  // namespace dims
