"""The effect's panel in the segment editor."""

from dataclasses import dataclass, field

from trame.widgets.html import Div, Span, Tbody, Td, Th, Thead, Tr
from trame.widgets.vuetify3 import VAlert, VBtn, VIcon, VProgressLinear, VSelect, VTable
from trame_server.utils.typed_state import TypedState
from trame_slicer.app.ui.flex_container import FlexContainer
from undo_stack import Signal


@dataclass
class Choice:
    title: str = ""
    value: str = ""


@dataclass
class Measured:
    """A line of the statistics table, as texts."""

    name: str = ""
    color: str = ""
    volume: str = ""
    mean: str = ""


@dataclass
class TransUNetState:
    models: list[Choice] = field(default_factory=list)
    model: str = ""
    device: str = "auto"
    running: bool = False
    progress: float = 0.0  # percent; 0 = not known yet
    stage: str = ""
    error: str = ""
    rows: list[Measured] = field(default_factory=list)


class TransUNetEffectUI(FlexContainer):
    run_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._typed_state = TypedState(self.state, TransUNetState)
        name = self._typed_state.name
        select = {"density": "compact", "hide_details": True, "variant": "outlined", "disabled": (name.running,)}
        with self:
            VSelect(
                label="Model", v_model=(name.model,), items=(name.models,), classes="mb-2 transunet-model", **select
            )
            VSelect(
                label="Device", v_model=(name.device,), items=("['auto', 'cpu', 'cuda']",), classes="mb-2", **select
            )
            with FlexContainer(row=True, style="gap: 8px;"):
                VBtn(
                    text="Run",
                    prepend_icon="mdi-play",
                    variant="tonal",
                    color="primary",
                    click=self.run_clicked,
                    disabled=(f"{name.running} || !{name.model}",),
                    classes="transunet-run",
                )
                VBtn(
                    text="Cancel",
                    prepend_icon="mdi-stop",
                    variant="tonal",
                    click=self.cancel_clicked,
                    disabled=(f"!{name.running}",),
                    classes="transunet-cancel",
                )
            with Div(v_if=(name.running,), classes="mt-2"):
                Div("{{ " + name.stage + " }}", classes="text-caption")
                VProgressLinear(
                    model_value=(name.progress,), indeterminate=(f"{name.progress} === 0",), color="primary"
                )
            VAlert(
                v_if=(name.error,),
                text=(name.error,),
                type="warning",
                density="compact",
                variant="tonal",
                classes="mt-2 transunet-error",
            )
            with VTable(v_if=(f"{name.rows}.length > 0",), density="compact", classes="mt-2 transunet-table"):
                with Thead(), Tr():
                    Th("Segment", classes="px-1")
                    Th("ml", classes="px-1 text-right")
                    Th("mean", classes="px-1 text-right")
                with Tbody(), Tr(v_for=(f"row in {name.rows}",), key="row.name"):
                    with Td(classes="px-1"):
                        VIcon("mdi-circle", size="x-small", color=("row.color",), classes="mr-2")
                        Span("{{ row.name }}")
                    Td("{{ row.volume }}", classes="px-1 text-right")
                    Td("{{ row.mean }}", classes="px-1 text-right")
            Div("Research use only, not for clinical use.", classes="text-caption text-medium-emphasis mt-2")
