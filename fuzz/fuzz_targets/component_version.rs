//! Any two texts as versions of each ecosystem: the order must be one, and what is no version must be refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_feeds::order::Order;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((one, other)) = text.split_once(' ') else { return };
    for order in [Order::Python, Order::Semantic, Order::Maven, Order::Unknown] {
        let compared = order.compare(one, other);
        assert_eq!(compared, order.compare(other, one).map(std::cmp::Ordering::reverse));
        if order.read(one).is_ok() {
            assert_eq!(order.compare(one, one), Some(std::cmp::Ordering::Equal));
        }
    }
});
