//! Turns a word that nothing goes by into the known word that was probably meant.

/// The known word nearest to `word`, when it is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, change or swap with their neighbour (optimal string alignment distance).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut rows = vec![(0..width).collect::<Vec<usize>>()];
    for (y, &from) in left.iter().enumerate() {
        let mut row = vec![y + 1];
        for (x, &to) in right.iter().enumerate() {
            let changed = rows[y][x] + usize::from(from != to);
            let mut least = changed.min(rows[y][x + 1] + 1).min(row[x] + 1);
            if x > 0 && y > 0 && from == right[x - 1] && left[y - 1] == to {
                least = least.min(rows[y - 1][x - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word_and_strangers_none() {
        let known = ["vni", "name", "networks", "gateway_ipv4", "gateway_ipv6"];
        for (word, expected) in [
            ("vnii", Some("vni")),
            ("nmae", Some("name")),
            ("network", Some("networks")),
            ("gateway_ip4", Some("gateway_ipv4")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
