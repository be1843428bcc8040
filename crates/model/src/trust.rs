//! Whose word counts: how an order key goes back to the root that executors pin, and how people vouch for a plan with
//! keys that no server holds.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::Digest;
use crate::plan::LeafProof;
use crate::sign::{SignError, Signable, Signed, VerifyingKey};

/// The root's word that a server's issuer may certify order keys. The root is kept where no server reaches it, so that
/// this is all that it ever signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerCertificate {
    /// The issuer's key.
    pub key: VerifyingKey,
    /// Rises with every certificate: an executor that has seen one believes none before it.
    pub serial: u64,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

impl Signable for IssuerCertificate {
    const DOMAIN: &'static str = "stanch/issuer/v1";
}

/// A server's question for an [`IssuerCertificate`], signed with the key that is to be certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRequest {
    /// The issuer's key.
    pub key: VerifyingKey,
    /// The root that executors of this server pin.
    pub root: VerifyingKey,
    /// The serial of the certificate in force there; 0 if there is none.
    pub after: u64,
    /// When it was asked.
    pub at: Timestamp,
}

impl Signable for IssuerRequest {
    const DOMAIN: &'static str = "stanch/issuer-request/v1";
}

/// The issuer's word that a key may sign orders for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderKeyCertificate {
    /// The certified key.
    pub key: VerifyingKey,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The epoch it belongs to.
    pub epoch: u64,
}

impl Signable for OrderKeyCertificate {
    const DOMAIN: &'static str = "stanch/order-key/v2";
}

/// How an order key goes back to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The root's word for the issuer.
    pub issuer: Signed<IssuerCertificate>,
    /// The issuer's word for the order key.
    pub order_key: Signed<OrderKeyCertificate>,
}

impl Chain {
    /// What both certificates say, if they go back to this root. Times and serials are the caller's to compare.
    ///
    /// # Errors
    /// When one of them is signed by somebody else, or was changed.
    pub fn open(&self, root: &VerifyingKey) -> Result<(&IssuerCertificate, &OrderKeyCertificate), SignError> {
        let issuer = self.issuer.open(root)?;
        Ok((issuer, self.order_key.open(&issuer.key)?))
    }
}

/// A person's word on a plan, signed with a key of their own. Executors whose rules ask for it check it themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanApproval {
    /// The plan's hash.
    pub plan: Digest,
    /// The Merkle root over the plan's leaves, so that each target can tell that its leaf is one of them.
    pub leaves: Digest,
    /// The plan may be begun until then.
    pub until: Timestamp,
}

impl Signable for PlanApproval {
    const DOMAIN: &'static str = "stanch/plan-approval/v1";
}

/// The signed words on a plan, and the proof that a leaf is of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// What people signed.
    pub approvals: Vec<Signed<PlanApproval>>,
    /// That the leaf is one of the plan's.
    pub proof: LeafProof,
}

/// Signed words that come with one leaf at most.
pub const MAX_APPROVALS: usize = 64;
/// Steps from a leaf to the root of a plan at most: more than any plan has.
pub const MAX_PATH: usize = 64;

impl Vouched {
    /// Whose words hold for this leaf of this plan at this moment; `begun` says that it was begun in time before, so that
    /// only the rest is asked for.
    pub fn by(&self, plan: &Digest, leaf: &Digest, now: Timestamp, begun: bool) -> BTreeSet<VerifyingKey> {
        if self.approvals.len() > MAX_APPROVALS || self.proof.path.len() > MAX_PATH {
            return BTreeSet::new();
        }
        let holds = |word: &&Signed<PlanApproval>| {
            word.body.plan == *plan
                && (begun || now < word.body.until)
                && self.proof.leads(leaf, &word.body.leaves)
                && word.open(&word.key).is_ok()
        };
        self.approvals.iter().filter(holds).map(|word| word.key).collect()
    }
}

/// How many of which people have to vouch for a plan before an executor begins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// How many.
    pub need: u16,
    /// Of these keys.
    pub keys: BTreeSet<VerifyingKey>,
}

impl Demand {
    /// How many of the keys that count have spoken.
    pub fn met_by(&self, keys: &BTreeSet<VerifyingKey>) -> usize {
        self.keys.intersection(keys).count()
    }

    /// Whether enough of them have.
    pub fn is_met(&self, keys: &BTreeSet<VerifyingKey>) -> bool {
        self.met_by(keys) >= usize::from(self.need)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle;
    use crate::sign::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn chain(root: &SigningKey, issuer: &SigningKey, order: &SigningKey) -> Chain {
        let (not_before, not_after) = (at(0), at(100));
        let word = IssuerCertificate { key: issuer.verifying_key(), serial: 1, not_before, not_after };
        let certified = OrderKeyCertificate { key: order.verifying_key(), not_before, not_after, epoch: 1 };
        Chain { issuer: Signed::new(word, root).unwrap(), order_key: Signed::new(certified, issuer).unwrap() }
    }

    #[test]
    fn a_chain_leads_from_the_root_over_its_issuer_and_over_nobody_else() {
        let (root, issuer, order) = (key(1), key(2), key(3));
        let good = chain(&root, &issuer, &order);
        assert_eq!(good.open(&root.verifying_key()).unwrap().1.key, order.verifying_key());
        assert!(good.open(&key(9).verifying_key()).is_err(), "another root");
        let other = chain(&root, &key(4), &order);
        let mixed = Chain { issuer: good.issuer.clone(), order_key: other.order_key };
        assert!(mixed.open(&root.verifying_key()).is_err(), "another issuer's word under this one's");
        // The root's own signature does not stand for an issuer's.
        let body = good.order_key.body.clone();
        let by_root = Chain { issuer: good.issuer.clone(), order_key: Signed::new(body, &root).unwrap() };
        assert!(by_root.open(&root.verifying_key()).is_err());
        let mut later = good;
        later.issuer.body.not_after = at(1_000);
        assert!(later.open(&root.verifying_key()).is_err(), "a changed certificate");
    }

    #[test]
    fn words_count_for_their_plan_their_leaves_and_their_time_and_once_each() {
        let leaves: Vec<Digest> = (0..5u8).map(|number| Digest::of_bytes(&[number])).collect();
        let plan = Digest::of_bytes(b"plan");
        let word = |seed: u8, plan: Digest, until: i64| {
            Signed::new(PlanApproval { plan, leaves: merkle::root(&leaves), until: at(until) }, &key(seed)).unwrap()
        };
        let path = merkle::inclusion_proof(&leaves, 3).unwrap();
        let mut forged = word(4, plan, 100);
        forged.body.until = at(1_000);
        let vouched = Vouched {
            approvals: vec![
                word(1, plan, 100),
                word(1, plan, 100),
                word(2, Digest::of_bytes(b"other"), 100),
                word(3, plan, 10),
                forged,
            ],
            proof: LeafProof { index: 3, size: 5, path },
        };
        let by = |now, begun, leaf: &Digest| vouched.by(&plan, leaf, at(now), begun);
        assert_eq!(by(5, false, &leaves[3]), BTreeSet::from([key(1).verifying_key(), key(3).verifying_key()]));
        assert_eq!(by(50, false, &leaves[3]), BTreeSet::from([key(1).verifying_key()]));
        assert_eq!(by(50, true, &leaves[3]).len(), 2, "what was begun in time is finished");
        assert_eq!(by(5, false, &leaves[2]), BTreeSet::new(), "another leaf");
        assert_eq!(by(5, false, &Digest::of_bytes(b"not of it")), BTreeSet::new());
        let demand = Demand { need: 2, keys: [1, 2, 9].map(|seed| key(seed).verifying_key()).into() };
        assert!(!demand.is_met(&by(5, false, &leaves[3])), "one of those that count, and one that does not");
        assert!(Demand { need: 1, ..demand }.is_met(&by(5, false, &leaves[3])));
    }
}
