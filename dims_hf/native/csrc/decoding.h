// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The rules of decoding: lengths, templates, what is masked again, repeats, and the choice among candidates.
#pragma once

#include <vector>

#include "network.h"

namespace dims {

struct Request {
    int num_iterations, length_beam_size;
    bool use_shortlist, with_scores, collapse_repeats, keeps_alignments;
    float repeat_penalty, length_score_weight;
    const int32_t* target_lengths;  // of the sentences, `<s>` and `</s>` counted; null: predicted
};

struct Translation {
    std::vector<int32_t> ids;
    float score = 0;
};

// Translates sentences, token ids laid end to end.
void translate_sentences(Network& network, const Settings& settings, const Request& request, const int32_t* ids,
                         const std::vector<Span>& sentences, Translation* translations);

// Tokens and log-probabilities of one position that a path may take.
struct Choice {
    int32_t ids[kMaxBest];
    float log_probs[kMaxBest];
    int count;
};

// The path with the largest sum of log-probabilities, less `penalty` for each pair of equal neighbours; ties go to the
// likelier token. Source: the decoder of Sun & Yang 2020 (arXiv 2006.16378), softened.
std::vector<int> best_path(const std::vector<Choice>& choices, float penalty);

}  // namespace dims
