//! Peeksort (Munro and Wild, "Nearly-optimal mergesorts", 2018): a stable merge sort that looks for the run in the middle first.
//! The order of comparisons is that of C++ Nix: it shows when a comparator traces, fails, or is inconsistent. No comparator
//! makes it panic or lose an element.

use crate::value::EvalResult;

/// Parts up to this length are sorted by insertion.
const INSERTION: usize = 16;

/// Sorts; `less(a, b)` says whether `a` belongs before `b`.
///
/// # Errors
/// The first one of `less`.
pub(super) fn sort<T: Copy>(items: &mut [T], less: &mut impl FnMut(T, T) -> EvalResult<bool>) -> EvalResult<()> {
    match items {
        [] | [_] => Ok(()),
        [a, b] => {
            if less(*b, *a)? {
                std::mem::swap(a, b);
            }
            Ok(())
        }
        _ => {
            let len = items.len();
            let mut spare = Vec::with_capacity(len);
            peek(items, &mut spare, 0, len, less)
        }
    }
}

/// Sorts `items`, of which those before `left` and those from `right` on are in order.
fn peek<T: Copy>(items: &mut [T], spare: &mut Vec<T>, left: usize, right: usize, less: &mut impl FnMut(T, T) -> EvalResult<bool>) -> EvalResult<()> {
    let len = items.len();
    if left == len || right == 0 {
        return Ok(());
    }
    if len <= INSERTION {
        return insertion(items, less);
    }
    let middle = len / 2;
    if middle <= left {
        peek(&mut items[left..], spare, 1, right - left, less)?;
        return merge(items, left, spare, less);
    }
    if middle >= right {
        peek(&mut items[..right], spare, left, right - 1, less)?;
        return merge(items, right, spare, less);
    }
    // The run around the middle: weakly ascending, or strictly descending and then turned round.
    let (mut start, mut end) = (middle - 1, middle);
    if less(items[middle], items[middle - 1])? {
        while start > left && less(items[start], items[start - 1])? {
            start -= 1;
        }
        // Compat: the pair in the middle is compared again.
        while end < right && less(items[end], items[end - 1])? {
            end += 1;
        }
        items[start..end].reverse();
    } else {
        while start > left && !less(items[start], items[start - 1])? {
            start -= 1;
        }
        while end < right && !less(items[end], items[end - 1])? {
            end += 1;
        }
    }
    if start == 0 && end == len {
        return Ok(());
    }
    if middle - start < end - middle {
        peek(&mut items[..start], spare, left, start.saturating_sub(1), less)?;
        peek(&mut items[start..], spare, end - start, right - start, less)?;
        merge(items, start, spare, less)
    } else {
        peek(&mut items[..end], spare, left, start, less)?;
        peek(&mut items[end..], spare, 1, right - end, less)?;
        merge(items, end, spare, less)
    }
}

fn insertion<T: Copy>(items: &mut [T], less: &mut impl FnMut(T, T) -> EvalResult<bool>) -> EvalResult<()> {
    for i in 1..items.len() {
        let mut at = i;
        while at > 0 && less(items[at], items[at - 1])? {
            items.swap(at, at - 1);
            at -= 1;
        }
    }
    Ok(())
}

/// Merges the parts before and behind `middle`, which are in order.
fn merge<T: Copy>(items: &mut [T], middle: usize, spare: &mut Vec<T>, less: &mut impl FnMut(T, T) -> EvalResult<bool>) -> EvalResult<()> {
    spare.clear();
    spare.extend_from_slice(&items[..middle]);
    let (mut i, mut j, mut to) = (0, middle, 0);
    while i < spare.len() && j < items.len() {
        if less(items[j], spare[i])? {
            items[to] = items[j];
            j += 1;
        } else {
            items[to] = spare[i];
            i += 1;
        }
        to += 1;
    }
    items[to..to + spare.len() - i].copy_from_slice(&spare[i..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::sort;

    #[test]
    fn sorts_stably_whatever_the_comparator() {
        let mut seed = 0x9e37_79b9_u32;
        let mut random = move |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % n
        };
        for round in 0..400 {
            let len = random(120);
            // Runs up and down among noise.
            let items: Vec<(u32, u32)> = (0..len).map(|i| (match random(4) { 0 => i / 3, 1 => len - i, _ => random(10) }, i)).collect();
            let mut sorted = items.clone();
            sort(&mut sorted, &mut |a: (u32, u32), b: (u32, u32)| Ok(a.0 < b.0)).unwrap();
            let mut expected = items.clone();
            expected.sort_by_key(|i| i.0);
            assert_eq!(sorted, expected, "round {round}");
            let mut mixed = items.clone();
            sort(&mut mixed, &mut |_, _| Ok(random(2) == 0)).unwrap();
            mixed.sort_by_key(|i| i.1);
            assert_eq!(mixed, items, "nothing is lost");
        }
    }
}
