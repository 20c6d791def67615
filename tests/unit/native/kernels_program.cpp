// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The library as a program, for machines that Python does not run on; all files hold the machine's own numbers.
//
//     program names
//     program sums KERNELS CASES OUTPUT        cases: rows, width, blocks (int64), x (int8), codes (uint8), and so on
//     program translate KERNELS MODEL ROWS OUTPUT      rows: count (int64), offsets (count + 1, int64), ids (int32)
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

struct DimsRequest {
    const int32_t* ids;
    const int64_t* offsets;
    const int32_t* target_lengths;
    int64_t num_sentences;
    int32_t threads, batch_tokens, num_iterations, length_beam_size;
    int32_t use_shortlist, with_scores, collapse_repeats, keeps_alignments;
    float repeat_penalty, length_score_weight;
};
struct DimsModel;
struct DimsTranslations;

extern "C" {
const char* dims_kernels(int32_t index);
DimsModel* dims_open(const char* path, const char* kernels, char* error, size_t error_size);
void dims_close(DimsModel* model);
DimsTranslations* dims_translate(DimsModel* model, const DimsRequest* request, char* error, size_t error_size);
const int32_t* dims_ids(const DimsTranslations* translations);
const int64_t* dims_offsets(const DimsTranslations* translations);
const float* dims_scores(const DimsTranslations* translations);
void dims_free(DimsTranslations* translations);
int32_t dims_accumulate(const char* kernels, const int8_t* x, int64_t rows, int64_t width, const uint8_t* w,
                        int64_t blocks, int32_t* sums);
}

namespace {

std::string read_file(const char* path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

template <class Number>
void write_numbers(std::ofstream& file, const Number* numbers, size_t count) {
    file.write(reinterpret_cast<const char*>(numbers), static_cast<std::streamsize>(count * sizeof(Number)));
}

int write_sums(const char* kernels, const char* cases, const char* output) {
    std::string content = read_file(cases);
    std::ofstream file(output, std::ios::binary);
    for (size_t at = 0; at < content.size();) {
        int64_t sizes[3];
        memcpy(sizes, content.data() + at, sizeof sizes);
        at += sizeof sizes;
        size_t x_size = sizes[0] * sizes[1], code_size = sizes[1] * sizes[2] * 16;
        std::vector<int8_t> x(x_size);
        std::vector<uint8_t> codes(code_size);
        memcpy(x.data(), content.data() + at, x_size);
        memcpy(codes.data(), content.data() + at + x_size, code_size);
        at += x_size + code_size;
        std::vector<int32_t> sums(sizes[0] * sizes[2] * 16);
        if (!dims_accumulate(kernels, x.data(), sizes[0], sizes[1], codes.data(), sizes[2], sums.data())) return 3;
        write_numbers(file, sums.data(), sums.size());
    }
    return file.good() ? 0 : 4;
}

int write_translations(const char* kernels, const char* path, const char* rows, const char* output) {
    std::string content = read_file(rows);
    int64_t count;
    memcpy(&count, content.data(), sizeof count);
    std::vector<int64_t> offsets(count + 1);
    memcpy(offsets.data(), content.data() + sizeof count, offsets.size() * sizeof(int64_t));
    std::vector<int32_t> ids(offsets.back());
    memcpy(ids.data(), content.data() + sizeof count + offsets.size() * sizeof(int64_t), ids.size() * sizeof(int32_t));
    char error[1024] = "";
    DimsModel* model = dims_open(path, kernels, error, sizeof error);
    if (model == nullptr) return fprintf(stderr, "%s\n", error), 5;
    DimsRequest request = {ids.data(), offsets.data(), nullptr, count, 1, 512, 2, 1, 0, 1, 0, 0, 0.0f, 0.0f};
    DimsTranslations* found = dims_translate(model, &request, error, sizeof error);
    if (found == nullptr) return fprintf(stderr, "%s\n", error), 6;
    std::ofstream file(output, std::ios::binary);
    write_numbers(file, dims_offsets(found), count + 1);
    write_numbers(file, dims_ids(found), dims_offsets(found)[count]);
    write_numbers(file, dims_scores(found), count);
    dims_free(found);
    dims_close(model);
    return file.good() ? 0 : 4;
}

}  // namespace

int main(int count, char** words) {
    if (count == 2 && strcmp(words[1], "names") == 0) {
        for (int32_t i = 0; dims_kernels(i) != nullptr; ++i) puts(dims_kernels(i));
        return 0;
    }
    if (count == 5 && strcmp(words[1], "sums") == 0) return write_sums(words[2], words[3], words[4]);
    if (count == 6 && strcmp(words[1], "translate") == 0)
        return write_translations(words[2], words[3], words[4], words[5]);
    return 2;
}
