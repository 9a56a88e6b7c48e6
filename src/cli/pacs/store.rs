//! C-STORE (PS3.7 9.1.1, PS3.4 annex B): sends an instance to a DIMSE peer and says what became of it.

use std::time::Duration;

use dicom::dictionary_std::tags;

use super::address::Dimse;
use super::association::{Association, Proposal, number, uid, with_data_set};
use super::line::{Line, Watched};
use super::object::{Object, name};
use super::status;
use super::trouble::{Result, Trouble};

const C_STORE: u16 = 0x0001;
const C_STORE_RESPONSE: u16 = 0x8001;

/// Sends `object`; gives the peer's warning, if it has one.
pub fn send(peer: &Dimse, calling: &str, patience: Duration, object: &Object, line: &Line) -> Result<Option<String>> {
    // One context for each, so that the peer's taste does not decide which (PS3.5 10.1).
    let offers = object.offers();
    let proposals: Vec<_> = offers
        .iter()
        .map(|syntax| Proposal { class: &object.class_uid, syntaxes: std::slice::from_ref(syntax) })
        .collect();
    let not_taken = || {
        let (class, own) = (name(&object.class_uid), name(&object.transfer_syntax));
        let hint = "the peer must be set up to store this kind of object in this form";
        Trouble::peer(format!("the peer does not take {class} in {own}"), hint)
    };
    let mut association = Association::open(peer, calling, patience, &proposals, &[], line)?.ok_or_else(not_taken)?;
    let taken = |syntax: &&&str| association.contexts().iter().any(|context| context.syntax == **syntax);
    let Some(syntax) = offers.iter().find(taken) else {
        association.release();
        return Err(not_taken());
    };
    let context =
        association.contexts().iter().find(|context| context.syntax == *syntax).map_or(1, |context| context.id);
    let sent = store(&mut association, context, syntax, object, line);
    match sent {
        Ok(warning) => {
            association.release();
            Ok(warning)
        }
        Err(trouble) => {
            association.abort();
            Err(trouble)
        }
    }
}

fn store(
    association: &mut Association,
    context: u8,
    syntax: &str,
    object: &Object,
    line: &Line,
) -> Result<Option<String>> {
    let id = association.next_message_id();
    let command = vec![
        uid(tags::AFFECTED_SOP_CLASS_UID, &object.class_uid),
        number(tags::COMMAND_FIELD, C_STORE),
        number(tags::MESSAGE_ID, id),
        number(tags::PRIORITY, 0),
        with_data_set(true),
        uid(tags::AFFECTED_SOP_INSTANCE_UID, &object.instance_uid),
    ];
    if syntax == object.transfer_syntax {
        let (data, length) = object.data_set()?;
        association.send_command(context, command)?;
        association.send_data(context, Watched::new(data, length, line), length)?;
    } else {
        let data = object.rewritten(syntax)?;
        association.send_command(context, command)?;
        let length = data.len() as u64;
        association.send_data(context, Watched::new(&data[..], length, line), length)?;
    }
    let answer = association.command()?;
    if answer.field() != C_STORE_RESPONSE {
        return Err(Trouble::peer("the peer answers something else than was asked", "the peer's log says more"));
    }
    match answer.status() {
        status::SUCCESS => Ok(None),
        code if status::is_warning(code) => Ok(Some(answer.verdict())),
        _ => Err(Trouble::peer(format!("refused: {}", answer.verdict()), "the peer's log says more")),
    }
}
