//! Owns how a failing tape is made shorter and quieter.

/// How many tapes are tried.
const MAX_TRIES: usize = 6000;

/// The shortest and lowest bytes found for which `fails` still holds.
pub(crate) fn shrink(bytes: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes.to_vec();
    let mut tries = 0;
    let mut try_out = |candidate: Vec<u8>, best: &mut Vec<u8>| {
        tries += 1;
        let better = tries <= MAX_TRIES && candidate != *best && fails(&candidate);
        if better {
            *best = candidate;
        }
        (better, tries <= MAX_TRIES)
    };
    loop {
        let mut improved = false;
        let mut size = best.len().div_ceil(2).max(1);
        while size > 0 {
            let mut at = 0;
            while at < best.len() {
                let end = (at + size).min(best.len());
                let shorter = [&best[..at], &best[end..]].concat();
                let (better, more) = try_out(shorter, &mut best);
                improved |= better;
                at += if better { 0 } else { size };
                if !more {
                    return best;
                }
            }
            size /= 2;
        }
        for at in 0..best.len() {
            for lower in [0, best[at] / 2, best[at].saturating_sub(1)] {
                let mut quieter = best.clone();
                quieter[at] = lower;
                if lower < best[at] {
                    improved |= try_out(quieter, &mut best).0;
                }
            }
        }
        if !improved {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let bytes: Vec<u8> = (0..200).collect();
        let shrunk = shrink(&bytes, |bytes| bytes.iter().any(|byte| *byte >= 70));
        assert_eq!(shrunk, [70]);
    }
}
