// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The dims_hf authors
// The part of JSON that a model file's header needs: objects, strings without escapes, numbers, true and false.
#pragma once

#include <map>
#include <stdexcept>
#include <string>

namespace dims {

// Why a model file, or a request, is refused.
struct Refusal : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Json {
    enum class Kind { kObject, kString, kNumber, kBool } kind = Kind::kObject;
    std::map<std::string, Json> members;
    std::string text;
    double number = 0;
    bool flag = false;

    bool has(const std::string& name) const { return members.count(name) != 0; }
    const Json& at(const std::string& name) const;
    const std::string& string(const std::string& name) const;
    bool boolean(const std::string& name) const;
    double real(const std::string& name) const;
    // An integer within bounds, both included.
    long long integer(const std::string& name, long long least, long long most) const;
};

// Raises Refusal for anything but one object.
Json parse_json(const std::string& text);

}  // namespace dims
