"""CTK's Python reader and runner on our modules: usage MODULES NAME [PARAMETER VALUE]...

Parses the module's --xml and the file beside it, both without a complaint, and runs the module with those parameters.
"""
import logging
import os
import subprocess
import sys

from ctk_cli.execution import isCLIExecutable, listCLIExecutables, popenCLIExecutable
from ctk_cli.module import CLIModule, CLIParameter

complaints = []


class Complaints(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())


logging.getLogger().addHandler(Complaints(logging.WARNING))
modules, name, values = sys.argv[1], sys.argv[2], dict(zip(sys.argv[3::2], sys.argv[4::2]))
path = os.path.join(modules, name)
assert isCLIExecutable(path) and path in listCLIExecutables(modules), path


def facts(module):
    return [[getattr(parameter, slot, None) for slot in CLIParameter.__slots__ if slot != "constraints"]
            for parameter in module.parameters()]


module = CLIModule(path)
assert facts(module) == facts(CLIModule(path + ".xml"))
arguments, options, outputs = module.classifyParameters()
assert not arguments and not outputs and len(options) > 8, (arguments, outputs)
assert not complaints, complaints

command = [path]
known = {option.name: option for option in options}
for key, value in values.items():
    command += [known.pop(key).longflag, value]
# As hosts do: what is no text is always passed.
for option in known.values():
    if option.default not in (None, "") and option.typ != "boolean":
        command += [option.longflag, str(option.default)]
run = popenCLIExecutable(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
out, err = run.communicate()
print(out)
sys.stderr.write(err)
sys.exit(run.returncode)
