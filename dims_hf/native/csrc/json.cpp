// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
#include "json.h"

#include <stdlib.h>
#include <string.h>

#include <cmath>

namespace dims {

namespace {

class Parser {
  public:
    explicit Parser(const std::string& text) : text_(text) {}

    Json parse() {
        Json value = object(0);
        skip_space();
        if (place_ != text_.size()) fail("ends too late");
        return value;
    }

  private:
    [[noreturn]] void fail(const std::string& what) const {
        throw Refusal("its header " + what + " at byte " + std::to_string(place_));
    }

    void skip_space() {
        while (place_ < text_.size() && strchr(" \t\r\n", text_[place_]) && text_[place_] != '\0') ++place_;
    }

    bool take(char wanted) {
        skip_space();
        if (place_ >= text_.size() || text_[place_] != wanted) return false;
        ++place_;
        return true;
    }

    void expect(char wanted) {
        if (!take(wanted)) fail(std::string("lacks a ") + wanted);
    }

    std::string quoted() {
        expect('"');
        size_t end = text_.find('"', place_);
        if (end == std::string::npos) fail("has an open string");
        std::string value = text_.substr(place_, end - place_);
        if (value.find('\\') != std::string::npos) fail("has an escape");
        place_ = end + 1;
        return value;
    }

    Json object(int depth) {
        if (depth > 4) fail("is nested too deeply");
        Json value;
        expect('{');
        if (take('}')) return value;
        do {
            skip_space();
            std::string name = quoted();
            expect(':');
            if (!value.members.emplace(name, any(depth)).second) fail("names '" + name + "' twice");
        } while (take(','));
        expect('}');
        return value;
    }

    Json any(int depth) {
        skip_space();
        Json value;
        if (place_ < text_.size() && text_[place_] == '{') return object(depth + 1);
        if (place_ < text_.size() && text_[place_] == '"') {
            value.kind = Json::Kind::kString;
            value.text = quoted();
            return value;
        }
        for (bool flag : {true, false}) {
            const char* word = flag ? "true" : "false";
            if (text_.compare(place_, strlen(word), word) == 0) {
                place_ += strlen(word);
                value.kind = Json::Kind::kBool;
                value.flag = flag;
                return value;
            }
        }
        return number();
    }

    Json number() {
        size_t end = text_.find_first_not_of("+-.0123456789eE", place_);
        std::string digits = text_.substr(place_, end == std::string::npos ? end : end - place_);
        char* stop = nullptr;
        Json value;
        value.kind = Json::Kind::kNumber;
        value.number = strtod(digits.c_str(), &stop);
        if (digits.empty() || *stop != '\0' || !std::isfinite(value.number)) fail("has an unknown value");
        place_ += digits.size();
        return value;
    }

    const std::string& text_;
    size_t place_ = 0;
};

const Json& typed(const Json& value, Json::Kind kind, const std::string& name) {
    if (value.kind != kind) throw Refusal("'" + name + "' has another type in its header");
    return value;
}

}  // namespace

Json parse_json(const std::string& text) { return Parser(text).parse(); }

const Json& Json::at(const std::string& name) const {
    auto found = members.find(name);
    if (found == members.end()) throw Refusal("its header has no '" + name + "'");
    return found->second;
}

const std::string& Json::string(const std::string& name) const { return typed(at(name), Kind::kString, name).text; }

bool Json::boolean(const std::string& name) const { return typed(at(name), Kind::kBool, name).flag; }

double Json::real(const std::string& name) const { return typed(at(name), Kind::kNumber, name).number; }

long long Json::integer(const std::string& name, long long least, long long most) const {
    double value = real(name);
    if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most)) || value != std::floor(value))
        throw Refusal("'" + name + "' is out of range in its header");
    return static_cast<long long>(value);
}

}  // namespace dims
