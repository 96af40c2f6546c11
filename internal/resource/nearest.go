package resource

import (
	"slices"
	"strings"
)

// Nearest gives up to most of the known names that a mistyped one may have meant, the likeliest first. Letter case does
// not count, nor does what stands behind the 64th byte.
func Nearest(name string, known []string, most int) []string {
	type candidate struct {
		name string
		far  int
	}
	var near []candidate
	for _, k := range known {
		if far := distance(strings.ToLower(name), strings.ToLower(k)); far <= max(2, min(len(name), len(k))/3) {
			near = append(near, candidate{k, far})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.far - b.far })
	var names []string
	for _, c := range near[:min(most, len(near))] {
		names = append(names, c.name)
	}
	return names
}

// distance is Levenshtein's: the least number of bytes to insert, delete or replace.
func distance(a, b string) int {
	a, b = a[:min(64, len(a))], b[:min(64, len(b))]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
