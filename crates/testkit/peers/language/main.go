// Answers what BuildKit's own packages make of a word or of an ignore file: a question in JSON on each line
// of standard input, an answer on each line of standard output, in the same order.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type question struct {
	// A word and the variables it sees, NAME=value.
	Word string   `json:"word"`
	Env  []string `json:"env"`
	// The text of an ignore file and the paths to ask it for.
	Ignore string   `json:"ignore"`
	Paths  []string `json:"paths"`
}

type answer struct {
	Refused bool   `json:"refused"`
	Value   string `json:"value"`
	// For each path, whether it is left out.
	Ignored []bool `json:"ignored"`
}

func answered(q question) (answer, error) {
	if len(q.Paths) == 0 {
		value, _, err := shell.NewLex('\\').ProcessWord(q.Word, shell.EnvsFromSlice(q.Env))
		return answer{Value: value}, err
	}
	patterns, err := ignorefile.ReadAll(strings.NewReader(q.Ignore))
	if err != nil {
		return answer{}, err
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return answer{}, err
	}
	var a answer
	for _, path := range q.Paths {
		ignored, err := matcher.MatchesOrParentMatches(path)
		if err != nil {
			return answer{}, err
		}
		a.Ignored = append(a.Ignored, ignored)
	}
	return a, nil
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for questions.More() {
		var q question
		if err := questions.Decode(&q); err != nil {
			log.Fatal(err)
		}
		a, err := answered(q)
		if err != nil {
			a = answer{Refused: true}
		}
		if err := answers.Encode(a); err != nil {
			log.Fatal(err)
		}
	}
}
