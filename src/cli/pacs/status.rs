//! Statuses of DIMSE responses and failure reasons of STOW-RS in words (PS3.7 annex C, PS3.4 annexes B and C, PS3.18 I.2).

pub const SUCCESS: u16 = 0x0000;

/// More responses follow.
pub fn is_pending(status: u16) -> bool {
    matches!(status, 0xFF00 | 0xFF01)
}

/// Done, with something to say.
pub fn is_warning(status: u16) -> bool {
    matches!(status, 0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF)
}

/// "out of resources (A700)".
pub fn words(status: u16) -> String {
    let words = match status {
        0x0000 => "done",
        0x0105 => "no such attribute",
        0x0106 => "invalid attribute value",
        0x0107 => "attributes were left out",
        0x0110 => "processing failure",
        0x0111 => "an instance of this UID is there already",
        0x0112 => "no such instance",
        0x0115 => "invalid argument value",
        0x0116 => "an attribute value was out of range",
        0x0117 => "invalid instance UID",
        0x0118 => "no such SOP class",
        0x0119 => "class and instance do not fit",
        0x0122 => "the SOP class is not supported",
        0x0124 => "not authorized",
        0x0210 => "duplicate invocation",
        0x0211 => "unrecognized operation",
        0x0212 => "mistyped argument",
        0x0213 => "resource limitation",
        0xA700..=0xA7FF => "out of resources",
        0xA801 => "the destination of the move is not known",
        0xA900..=0xA9FF => "the data set does not fit the SOP class",
        0xB000 => "attributes were changed (coercion), or some of the operations failed",
        0xB006 => "elements were discarded",
        0xB007 => "the data set does not fit the SOP class, and was stored",
        0xC000..=0xCFFF => "it cannot be understood or processed",
        0xFE00 => "cancelled",
        _ if is_warning(status) => "a warning",
        _ => "a status of the peer's own",
    };
    format!("{words} ({status:04X})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_words_and_a_number() {
        assert_eq!(words(0xA702), "out of resources (A702)");
        assert_eq!(words(0xB123), "a warning (B123)");
        assert_eq!(words(0x0999), "a status of the peer's own (0999)");
        assert!(is_pending(0xFF01) && !is_pending(SUCCESS) && is_warning(0xB007) && !is_warning(0xA700));
    }
}
