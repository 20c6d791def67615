// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The interface of the library: plain C, for ctypes. No exception leaves it.
//
// Functions that can fail return null and write one line into `error`.
#include <string.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "decoding.h"

#define DIMS_API extern "C" __attribute__((visibility("default")))

using namespace dims;

// As `_Request` in library.py.
struct DimsRequest {
    const int32_t* ids;
    const int64_t* offsets;         // (num_sentences + 1), of the first id of each sentence
    const int32_t* target_lengths;  // (num_sentences), `<s>` and `</s>` counted, or null
    int64_t num_sentences;
    int32_t threads, batch_tokens, num_iterations, length_beam_size;
    int32_t use_shortlist, with_scores, collapse_repeats, keeps_alignments;
    float repeat_penalty, length_score_weight;
};

struct DimsTranslations {
    std::vector<int32_t> ids;
    std::vector<int64_t> offsets;
    std::vector<float> scores;
};

struct DimsModel {
    DimsModel(const char* path, const Kernels& chosen) : model(path), kernels(chosen) {}

    Model model;
    const Kernels& kernels;
    std::mutex mutex;
    std::vector<std::unique_ptr<Workspace>> idle;

    std::unique_ptr<Workspace> take() {
        std::lock_guard<std::mutex> lock(mutex);
        if (idle.empty()) return std::make_unique<Workspace>();
        std::unique_ptr<Workspace> workspace = std::move(idle.back());
        idle.pop_back();
        return workspace;
    }

    void put_back(std::unique_ptr<Workspace> workspace) {
        std::lock_guard<std::mutex> lock(mutex);
        idle.push_back(std::move(workspace));
    }
};

namespace {

void write_error(const std::string& text, char* error, size_t size) {
    if (size == 0) return;
    size_t count = std::min(text.size(), size - 1);
    memcpy(error, text.data(), count);
    error[count] = '\0';
}

template <class Call>
auto guarded(char* error, size_t size, Call call) -> decltype(call()) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        write_error("There is not enough memory.", error, size);
    } catch (const std::exception& problem) {
        write_error(problem.what(), error, size);
    }
    return nullptr;
}

void check(const Settings& s, const DimsRequest& request) {
    for (int64_t i = 0; i < request.num_sentences; ++i) {
        int64_t first = request.offsets[i], count = request.offsets[i + 1] - first;
        std::string name = "Sentence " + std::to_string(i);
        if (count < 1) throw Refusal(name + " has no tokens.");
        size_t positions = s.predicts_length ? count : count * s.upsample_ratio;
        if (static_cast<size_t>(count) > s.max_positions || positions > s.max_positions)
            throw Refusal(name + " has " + std::to_string(count) + " tokens, more than the model takes.");
        for (int64_t j = first; j < first + count; ++j)
            if (request.ids[j] < 0 || static_cast<size_t>(request.ids[j]) >= s.vocab_size)
                throw Refusal(name + " holds the id " + std::to_string(request.ids[j]) +
                              ", outside of the vocabulary of " + std::to_string(s.vocab_size) + ".");
        if (request.target_lengths == nullptr) continue;
        int32_t length = request.target_lengths[i];
        if (!s.predicts_length || request.length_beam_size != 1)
            throw Refusal("Target lengths need a model that predicts lengths, and one candidate.");
        if (length < 3 || static_cast<size_t>(length) > s.max_positions)
            throw Refusal(name + " has an impossible target length.");
    }
    if (request.num_iterations < 1 || request.length_beam_size < 1 || request.threads < 1 || request.batch_tokens < 1)
        throw Refusal("A number of passes, candidates, threads or tokens is below 1.");
    if (!s.predicts_length && request.length_beam_size != 1) throw Refusal("This model predicts no length.");
    if (!(request.repeat_penalty >= 0)) throw Refusal("repeat_penalty is below 0.");
}

// Sentences [first, last) that are translated at once.
struct Chunk {
    size_t first, last;
};

std::vector<Chunk> make_chunks(const DimsRequest& request) {
    std::vector<Chunk> chunks;
    size_t total = request.num_sentences;
    int64_t all_tokens = request.offsets[total] * request.length_beam_size;
    // Small enough that every thread gets some, and not so small that weights are read for a sentence alone.
    int64_t budget = std::min<int64_t>(request.batch_tokens, std::max<int64_t>(64, all_tokens / request.threads));
    for (size_t first = 0; first < total;) {
        size_t last = first + 1;
        while (last < total &&
               (request.offsets[last + 1] - request.offsets[first]) * request.length_beam_size <= budget)
            ++last;
        chunks.push_back({first, last});
        first = last;
    }
    return chunks;
}

void translate_chunk(DimsModel& model, const DimsRequest& request, const Chunk& chunk, Workspace& workspace,
                     Translation* translations) {
    Network network(model.model, model.kernels, workspace);
    Request options = {request.num_iterations,
                       request.length_beam_size,
                       request.use_shortlist != 0,
                       request.with_scores != 0,
                       request.collapse_repeats != 0,
                       request.keeps_alignments != 0,
                       request.repeat_penalty,
                       request.length_score_weight,
                       request.target_lengths == nullptr ? nullptr : request.target_lengths + chunk.first};
    std::vector<Span> spans;
    int64_t start = request.offsets[chunk.first];
    for (size_t i = chunk.first; i < chunk.last; ++i)
        spans.push_back({static_cast<size_t>(request.offsets[i] - start),
                         static_cast<size_t>(request.offsets[i + 1] - request.offsets[i])});
    translate_sentences(network, model.model.settings, options, request.ids + start, spans,
                        translations + chunk.first);
}

// Threads take chunk after chunk; the first problem of any is raised again by the caller.
void translate_all(DimsModel& model, const DimsRequest& request, std::vector<Translation>& translations) {
    std::vector<Chunk> chunks = make_chunks(request);
    std::atomic<size_t> next{0};
    std::exception_ptr problem;
    std::mutex mutex;
    auto work = [&]() {
        try {
            std::unique_ptr<Workspace> workspace = model.take();
            for (size_t i = next++; i < chunks.size(); i = next++)
                translate_chunk(model, request, chunks[i], *workspace, translations.data());
            model.put_back(std::move(workspace));
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            problem = std::current_exception();
            next = chunks.size();
        }
    };
    std::vector<std::thread> threads;
    size_t helpers = std::min<size_t>(request.threads, chunks.size()) - 1;
    try {
        for (size_t i = 0; i < helpers; ++i) threads.emplace_back(work);
    } catch (const std::system_error&) {
        // fewer threads than asked for are fine
    }
    work();
    for (std::thread& thread : threads) thread.join();
    if (problem) std::rethrow_exception(problem);
}

}  // namespace

DIMS_API const char* dims_kernels(int32_t index) {
    size_t count;
    const Kernels* const* tables = available_kernels(&count);
    return index >= 0 && static_cast<size_t>(index) < count ? tables[index]->name : nullptr;
}

// `kernels` is a name of `dims_kernels`, or empty for the fastest.
DIMS_API DimsModel* dims_open(const char* path, const char* kernels, char* error, size_t error_size) {
    return guarded(error, error_size, [&]() -> DimsModel* {
        const Kernels* chosen = find_kernels(kernels);
        if (chosen == nullptr) throw Refusal(std::string("This machine has no kernels called '") + kernels + "'.");
        return new DimsModel(path, *chosen);
    });
}

DIMS_API void dims_close(DimsModel* model) { delete model; }

DIMS_API const char* dims_model_kernels(const DimsModel* model) { return model->kernels.name; }

DIMS_API DimsTranslations* dims_translate(DimsModel* model, const DimsRequest* request, char* error,
                                          size_t error_size) {
    return guarded(error, error_size, [&]() -> DimsTranslations* {
        auto result = std::make_unique<DimsTranslations>();
        result->offsets.push_back(0);
        if (request->num_sentences > 0) {
            check(model->model.settings, *request);
            std::vector<Translation> translations(request->num_sentences);
            translate_all(*model, *request, translations);
            for (const Translation& translation : translations) {
                result->ids.insert(result->ids.end(), translation.ids.begin(), translation.ids.end());
                result->offsets.push_back(static_cast<int64_t>(result->ids.size()));
                result->scores.push_back(translation.score);
            }
        }
        return result.release();
    });
}

DIMS_API const int32_t* dims_ids(const DimsTranslations* translations) { return translations->ids.data(); }

DIMS_API const int64_t* dims_offsets(const DimsTranslations* translations) { return translations->offsets.data(); }

DIMS_API const float* dims_scores(const DimsTranslations* translations) { return translations->scores.data(); }

DIMS_API void dims_free(DimsTranslations* translations) { delete translations; }

// For tests: the integer sums (rows, blocks * 16) of one set of kernels; 0 where there is none of that name.
DIMS_API int32_t dims_accumulate(const char* kernels, const int8_t* x, int64_t rows, int64_t width, const uint8_t* w,
                                 int64_t blocks, int32_t* sums) {
    const Kernels* chosen = find_kernels(kernels);
    if (chosen == nullptr) return 0;
    std::vector<int32_t> row_sums(rows);
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < width; ++i) row_sums[row] += x[row * width + i];
    Matrix matrix;
    matrix.codes = w;
    matrix.inputs = width;
    matrix.blocks = blocks;
    chosen->accumulate({x, nullptr, row_sums.data(), static_cast<size_t>(rows), static_cast<size_t>(width)}, matrix,
                       sums);
    return 1;
}

// For tests: the path of `best_path` over choices (length, 3).
DIMS_API void dims_best_path(const int32_t* ids, const float* log_probs, int64_t length, float penalty,
                             int32_t* path) {
    std::vector<Choice> choices(length);
    for (int64_t i = 0; i < length; ++i) {
        choices[i].count = kMaxBest;
        memcpy(choices[i].ids, ids + i * kMaxBest, sizeof choices[i].ids);
        memcpy(choices[i].log_probs, log_probs + i * kMaxBest, sizeof choices[i].log_probs);
    }
    std::vector<int> found = best_path(choices, penalty);
    for (int64_t i = 0; i < length; ++i) path[i] = choices[i].ids[found[i]];
}
