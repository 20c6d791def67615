// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
#include "decoding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace dims {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One length of one sentence, and how far it is.
struct Candidate {
    size_t sentence;
    std::vector<int32_t> tokens, hypothesis;
    std::vector<float> scores;
    std::vector<char> is_content, is_masked;
    std::vector<size_t> positions;  // that the next pass predicts
    std::vector<Choice> choices;    // the likeliest tokens of the latest prediction of each position
    bool is_open = true;
    float score = 0;
};

Candidate make_candidate(const Settings& s, size_t sentence, size_t length) {
    Candidate c;
    c.sentence = sentence;
    c.tokens.assign(length, s.mask);
    c.is_content.assign(length, 1);
    if (s.predicts_length) {
        c.tokens.front() = s.bos;
        c.tokens.back() = s.eos;
        c.is_content.front() = c.is_content.back() = 0;
    }
    c.hypothesis = c.tokens;
    c.is_masked = c.is_content;
    c.scores.assign(length, 0.0f);
    for (int32_t token : c.tokens) c.choices.push_back({{token}, {0.0f}, 1});
    return c;
}

void log_softmax(std::vector<float>& values) {
    float largest = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (float value : values) sum += std::exp(static_cast<double>(value) - largest);
    float shift = largest + static_cast<float>(std::log(sum));
    for (float& value : values) value -= shift;
}

// Lengths of a sentence's candidates, ascending, each with what its length adds to its score.
std::vector<std::pair<size_t, float>> candidate_lengths(const Network& network, const Settings& s,
                                                        const Request& request, size_t sentence, size_t num_source) {
    if (!s.predicts_length) return {{num_source * s.upsample_ratio, 0.0f}};
    if (request.target_lengths != nullptr) return {{request.target_lengths[sentence], 0.0f}};
    std::vector<float> logits = network.length_logits(sentence);
    int predicted = static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (request.length_score_weight != 0) log_softmax(logits);
    std::vector<std::pair<size_t, float>> lengths;
    for (int i = 0; i < request.length_beam_size; ++i) {
        int length = predicted - request.length_beam_size / 2 + i;
        length = std::clamp(length, static_cast<int>(s.shortest_length), static_cast<int>(s.longest_length));
        size_t length_class = std::min(static_cast<size_t>(length), logits.size() - 1);
        float bonus = request.length_score_weight == 0 ? 0 : request.length_score_weight * logits[length_class];
        lengths.emplace_back(length, bonus);
    }
    return lengths;
}

// Marks the `count` eligible places of [first, first + size) with the lowest scores; ties go to the leftmost.
template <class Score>
void mark_lowest(std::vector<char>& marks, const std::vector<char>& eligible, size_t first, size_t size, size_t count,
                 Score score) {
    std::vector<size_t> places;
    for (size_t i = first; i < first + size; ++i)
        if (eligible[i]) places.push_back(i);
    std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) { return score(a) < score(b); });
    for (size_t i = 0; i < std::min(count, places.size()); ++i) marks[places[i]] = 1;
}

// Mask-predict: the least confident floor(N (S - s) / S) of N content tokens after s of S passes.
std::vector<char> masks_of_target(const Candidate& c, size_t num_passes, size_t num_iterations) {
    std::vector<char> marks(c.tokens.size(), 0);
    size_t num_content = std::count(c.is_content.begin(), c.is_content.end(), 1);
    size_t num_left = num_content * (num_iterations - num_passes) / num_iterations;
    mark_lowest(marks, c.is_content, 0, marks.size(), num_left, [&](size_t i) { return c.scores[i]; });
    return marks;
}

// Block decoding of alignments: in each block of S positions all but the most confident stay masked.
std::vector<char> masks_of_alignment(const Settings& s, const Candidate& c, size_t num_passes, size_t size) {
    std::vector<char> marks(c.tokens.size(), 0);
    for (size_t first = 0; first < marks.size(); first += size) {
        size_t count = std::min(size, marks.size() - first), num_left = count * (size - num_passes) / size;
        // The place that a block reveals first, and a lone last position, whose left neighbour is such a place.
        bool has_first = s.legacy_adjacency || num_passes == 1;
        size_t revealed = first + (s.legacy_adjacency ? size : count) - 1;
        if (!s.legacy_adjacency && num_passes == 1 && count == 1 && first > 0 && size > 1) num_left = 1;
        mark_lowest(marks, s.legacy_adjacency ? c.is_content : c.is_masked, first, count, num_left,
                    [&](size_t i) { return has_first && i == revealed ? kInfinity : c.scores[i]; });
    }
    return marks;
}

void find_positions(const Settings& s, Candidate& c) {
    c.positions.clear();
    for (size_t i = 0; i < c.tokens.size(); ++i) {
        int32_t token = c.tokens[i];
        bool is_special = token == s.bos || token == s.eos || token == s.pad;
        if (s.update_all_positions ? c.is_content[i] && !is_special : c.is_masked[i]) c.positions.push_back(i);
    }
    c.is_open = !c.positions.empty();
}

// The tokens of a position that a path may take.
Choice make_choice(const Best& best) {
    Choice choice = {{}, {}, 0};
    for (int place = 0; place < kMaxBest && best.columns[place] >= 0; ++place) {
        choice.ids[choice.count] = best.columns[place];
        choice.log_probs[choice.count++] = best.logits[place] - best.log_sum;
    }
    if (choice.count == 0) choice.count = 1;
    return choice;
}

// The best path through the content, once all passes are done.
void penalize_repeats(Candidate& c, float penalty) {
    std::vector<Choice> content;
    for (size_t i = 0; i < c.choices.size(); ++i)
        if (c.is_content[i]) content.push_back(c.choices[i]);
    std::vector<int> path = best_path(content, penalty);
    for (size_t i = 0, n = 0; i < c.choices.size(); ++i) {
        if (!c.is_content[i]) continue;
        c.hypothesis[i] = content[n].ids[path[n]];
        c.scores[i] = content[n].log_probs[path[n]];
        ++n;
    }
}

// Writes what a pass predicted, and masks what the next one is to predict again.
void step(const Settings& s, const Request& request, Candidate& c, const Best* best, size_t num_passes) {
    for (size_t n = 0; n < c.positions.size(); ++n) {
        Choice choice = make_choice(best[n]);
        c.choices[c.positions[n]] = choice;
        c.hypothesis[c.positions[n]] = choice.ids[0];
        c.scores[c.positions[n]] = choice.log_probs[0];
    }
    size_t num_iterations = request.num_iterations;
    std::vector<char> masks = s.predicts_length ? masks_of_target(c, num_passes, num_iterations)
                                                : masks_of_alignment(s, c, num_passes, num_iterations);
    std::vector<int32_t> tokens = c.hypothesis;
    for (size_t i = 0; i < tokens.size(); ++i)
        if (masks[i]) tokens[i] = s.mask;
    // A pass over no masks that changed nothing would be repeated by all later ones.
    bool is_fixed = std::count(c.is_masked.begin(), c.is_masked.end(), 1) == 0 && tokens == c.tokens;
    c.tokens = std::move(tokens);
    c.is_masked = std::move(masks);
    find_positions(s, c);
    c.is_open = c.is_open && !is_fixed;
}

void run_passes(Network& network, const Settings& s, const Request& request, std::vector<Candidate>& candidates) {
    bool needs_scores = request.with_scores || request.length_beam_size > 1 || request.num_iterations > 1;
    int num_best = request.repeat_penalty > 0 && s.predicts_length ? kMaxBest : 1;
    std::vector<Best> best;
    for (Candidate& c : candidates) find_positions(s, c);
    for (int pass = 1; pass <= request.num_iterations; ++pass) {
        std::vector<Target> targets;
        for (const Candidate& c : candidates)
            if (c.is_open) targets.push_back({c.sentence, &c.tokens, &c.positions});
        if (targets.empty()) break;
        network.predict(targets, num_best, needs_scores || num_best > 1, request.use_shortlist, best);
        const Best* next = best.data();
        for (Candidate& c : candidates) {
            if (!c.is_open) continue;
            size_t count = c.positions.size();
            step(s, request, c, next, pass);
            next += count;
        }
    }
    if (num_best > 1)
        for (Candidate& c : candidates) penalize_repeats(c, request.repeat_penalty);
}

// Of each run of equal tokens one, then no blanks, between `<s>` and `</s>`.
std::vector<int32_t> collapse_alignment(const Settings& s, const std::vector<int32_t>& alignment) {
    std::vector<int32_t> ids = {s.bos};
    for (size_t i = 0; i < alignment.size(); ++i)
        if (alignment[i] != s.blank && (i == 0 || alignment[i] != alignment[i - 1])) ids.push_back(alignment[i]);
    ids.push_back(s.eos);
    return ids;
}

std::vector<int32_t> finish(const Settings& s, const Request& request, const std::vector<int32_t>& hypothesis) {
    if (request.keeps_alignments) return hypothesis;
    std::vector<int32_t> ids = s.predicts_length ? hypothesis : collapse_alignment(s, hypothesis);
    if (request.collapse_repeats) ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

}  // namespace

std::vector<int> best_path(const std::vector<Choice>& choices, float penalty) {
    std::vector<std::array<int, kMaxBest>> from(choices.size());
    std::array<float, kMaxBest> scores = {};
    for (size_t i = 0; i < choices.size(); ++i) {
        std::array<float, kMaxBest> next = {};
        for (int b = 0; b < choices[i].count; ++b) {
            float top = -kInfinity;
            from[i][b] = 0;
            for (int a = 0; i > 0 && a < choices[i - 1].count; ++a) {
                float score = scores[a] - (choices[i - 1].ids[a] == choices[i].ids[b] ? penalty : 0.0f);
                if (score > top) {
                    top = score;
                    from[i][b] = a;
                }
            }
            // What is lost beside the likeliest token: sums of it stay small, so that long targets are told apart.
            next[b] = (i == 0 ? 0.0f : top) + (choices[i].log_probs[b] - choices[i].log_probs[0]);
        }
        scores = next;
    }
    std::vector<int> path(choices.size());
    for (size_t i = choices.size(); i-- > 0;) {
        if (i + 1 == choices.size())
            path[i] = static_cast<int>(std::max_element(scores.begin(), scores.begin() + choices[i].count) -
                                       scores.begin());
        else
            path[i] = from[i + 1][path[i + 1]];
    }
    return path;
}

void translate_sentences(Network& network, const Settings& settings, const Request& request, const int32_t* ids,
                         const std::vector<Span>& sentences, Translation* translations) {
    network.encode(ids, sentences);
    std::vector<Candidate> candidates;
    std::vector<float> bonuses;
    for (size_t i = 0; i < sentences.size(); ++i)
        for (auto [length, bonus] : candidate_lengths(network, settings, request, i, sentences[i].count)) {
            candidates.push_back(make_candidate(settings, i, length));
            bonuses.push_back(bonus);
        }
    run_passes(network, settings, request, candidates);
    std::vector<char> is_found(sentences.size(), 0);
    for (size_t i = 0; i < candidates.size(); ++i) {
        const Candidate& c = candidates[i];
        float score = std::accumulate(c.scores.begin(), c.scores.end(), 0.0f) / static_cast<float>(c.tokens.size());
        score += bonuses[i];
        Translation& translation = translations[c.sentence];
        // Candidates ascend in length: ties go to the shorter one.
        if (is_found[c.sentence] && !(score > translation.score)) continue;
        is_found[c.sentence] = 1;
        translation = {finish(settings, request, c.hypothesis), score};
    }
}

}  // namespace dims
