"""MuJoCo as a picture maker: one compiled scene holds every shape of a set.

Bodies are mocap bodies that a world moves about; what a world does not show is in a hidden
geom group. Colours, table, lights and camera are changed in place, so a world costs no
compilation. Kinematic only: no physics is stepped.
"""

from __future__ import annotations

import importlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import MissingExtraError
from .catalogue import DISTRACTOR, Tier, categories_of
from .meshes import merge
from .shapes import VARIANTS, Role, shape
from .textures import WILD_TABLES, table_texture

if TYPE_CHECKING:
    from .worlds import World

__all__ = ["NEUTRALS", "Scene", "Shot", "scene_for"]

Floats = NDArray[np.float64]
NEUTRALS: dict[Role, tuple[float, float, float]] = {
    "dark": (0.16, 0.16, 0.17),
    "light": (0.86, 0.84, 0.78),
    "metal": (0.62, 0.63, 0.65),
}
_HIDDEN, _SHOWN = 5, 1
_NEAR, _FAR = 0.05, 6.0


def _mujoco() -> Any:
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco
    except ImportError as error:
        raise MissingExtraError("mujoco", "sim") from error
    return mujoco


def _gl_context(mj: Any, width: int, height: int) -> Any:
    """An off-screen context; EGL also where MuJoCo was imported before ``MUJOCO_GL`` was set."""
    if os.environ["MUJOCO_GL"] != "egl":
        return mj.GLContext(width, height)
    egl: Any = importlib.import_module("mujoco.egl")
    return egl.GLContext(width, height)


@dataclass(frozen=True, slots=True)
class Shot:
    """One rendered moment: picture, object ids (0 = background) and z-depth in metres."""

    rgb_hw3: NDArray[np.uint8]
    ids_hw: NDArray[np.uint8]
    depth_hw: NDArray[np.float32]


class Scene:
    """A compiled set of shapes with its off-screen renderer.

    Args:
        tier: decides the categories.
        set_index: which shapes (see :func:`~edgetwin.distill.sim.shapes.shape_set`).
        width: picture width in pixels. height: picture height in pixels.

    Raises:
        MissingExtraError: if MuJoCo is not installed.
    """

    def __init__(self, tier: Tier, set_index: int, width: int = 256, height: int = 256) -> None:
        self._mj = mj = _mujoco()
        self.width, self.height = width, height
        self._geoms: dict[tuple[str, int], list[tuple[int, Role]]] = {}
        self._mocap: dict[tuple[str, int], int] = {}
        self._model = self._compile(tier, set_index)
        self._data = mj.MjData(self._model)
        self._gl = _gl_context(mj, width, height)
        self._gl.make_current()
        self._context = mj.MjrContext(self._model, mj.mjtFontScale.mjFONTSCALE_100.value)
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mj.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mj.MjvScene(self._model, maxgeom=200)
        self._option = mj.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[[0, _SHOWN]] = 1
        self._camera = mj.MjvCamera()
        self._camera.type = mj.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        self._rect = mj.MjrRect(0, 0, width, height)
        self._world: World | None = None

    def close(self) -> None:
        """Free the renderer; in its own GL context, or it would free another scene's objects."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = None

    def _compile(self, tier: Tier, set_index: int) -> Any:
        mj = self._mj
        spec = mj.MjSpec()
        spec.visual.global_.offwidth, spec.visual.global_.offheight = self.width, self.height
        spec.visual.quality.offsamples, spec.visual.quality.shadowsize = 0, 1024
        spec.visual.map.znear, spec.visual.map.zfar = _NEAR, _FAR
        spec.visual.map.shadowclip = 0.7
        spec.visual.headlight.active = 0
        spec.stat.extent = 1.0
        spec.stat.center = np.zeros(3)
        for name in WILD_TABLES:
            data = table_texture(name)
            texture = spec.add_texture(name=name, type=mj.mjtTexture.mjTEXTURE_2D)
            texture.nchannel, texture.width, texture.height = 3, data.shape[1], data.shape[0]
            texture.data = data.tobytes()
            material = spec.add_material(name=name, texrepeat=[12, 12], specular=0.05)
            material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name
        for name, specular, shininess in (("matte", 0.1, 0.1), ("gloss", 0.35, 0.5)):
            spec.add_material(name=name, specular=specular, shininess=shininess)
        root = spec.worldbody
        root.add_geom(
            name="table", type=mj.mjtGeom.mjGEOM_PLANE, size=[3, 3, 0.1], material="wood", group=0
        )
        for castshadow in (True, False):
            light = root.add_light(pos=[0, 0, 2], dir=[0, 0, -1], castshadow=castshadow)
            light.cutoff, light.exponent = (45.0 if castshadow else 80.0), 0.0
            light.type = mj.mjtLightType.mjLIGHT_SPOT
        root.add_camera(name="camera", fovy=45.0, pos=[0, 0, 1])
        extra = (DISTRACTOR.name,) if tier == "wild" else ()
        for category in (*categories_of(tier), *extra):
            for variant in range(VARIANTS):
                self._add(spec, category, set_index, variant)
        model = spec.compile()
        self._index(model)
        return model

    def _add(self, spec: Any, category: str, set_index: int, variant: int) -> None:
        mj = self._mj
        key = f"{category}/{variant}"
        body = spec.worldbody.add_body(name=key, mocap=True, pos=[0, 0, -5])
        parts = shape(category, set_index, variant).parts
        for role in dict.fromkeys(p.role for p in parts):
            mesh = merge(*[p.mesh for p in parts if p.role == role])
            data = spec.add_mesh(name=f"{key}/{role}")
            data.uservert = mesh.vertices_n3.astype(np.float32).ravel()
            data.userface = mesh.faces_m3.astype(np.int32).ravel()
            data.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL
            body.add_geom(
                name=f"{key}/{role}",
                type=mj.mjtGeom.mjGEOM_MESH,
                meshname=f"{key}/{role}",
                material="gloss" if variant % 2 else "matte",
                group=_HIDDEN,
                contype=0,
                conaffinity=0,
            )

    def _index(self, model: Any) -> None:
        for geom in range(model.ngeom):
            name = model.geom(geom).name
            if name == "table":
                continue
            category, variant, role = name.split("/")
            key = (category, int(variant))
            self._geoms.setdefault(key, []).append((geom, role))
            self._mocap[key] = int(model.body(f"{category}/{variant}").mocapid[0])

    def _dress(self, world: World) -> None:
        """Show a world's objects in their colours, under its table and lights."""
        if self._world is world:
            return
        model = self._model
        model.geom_group[1:] = _HIDDEN
        self._owner = np.zeros(model.ngeom + 1, dtype=np.uint8)
        for thing in (*world.objects, *world.distractors):
            for geom, role in self._geoms[thing.category, thing.variant]:
                model.geom_group[geom] = _SHOWN
                model.geom_rgba[geom] = (*(thing.rgb if role == "body" else NEUTRALS[role]), 1.0)
                self._owner[geom] = thing.id
        model.geom_matid[0] = model.material(world.table).id
        light = world.light
        model.light_dir[0], model.light_dir[1] = light.key_dir, light.fill_dir
        model.light_pos[0], model.light_pos[1] = (
            -2 * np.array(light.key_dir),
            -2 * np.array(light.fill_dir),
        )
        model.light_diffuse[0], model.light_diffuse[1] = light.key, light.fill
        model.light_ambient[0], model.light_ambient[1] = light.ambient, 0.0
        model.light_specular[:] = 0.3
        self._world = world

    def render(self, world: World, t: float, only: int | None = None, rgb: bool = True) -> Shot:
        """The world at time ``t`` seconds; with ``only`` a single object is drawn."""
        mj, model, data = self._mj, self._model, self._data
        self._gl.make_current()
        self._dress(world)
        hidden: list[int] = []
        for thing in (*world.objects, *world.distractors):
            key = (thing.category, thing.variant)
            position, turn = thing.pose(world.when(t))
            slot = self._mocap[key]
            data.mocap_pos[slot] = position
            mj.mju_mat2Quat(data.mocap_quat[slot], turn.ravel())
            if only is not None and thing.id != only:
                hidden += [geom for geom, _ in self._geoms[key]]
        model.geom_group[hidden] = _HIDDEN
        eye, frame = world.camera(t)
        model.cam_pos[0] = eye
        mj.mju_mat2Quat(model.cam_quat[0], (frame * np.array([1.0, -1.0, -1.0])).ravel())
        mj.mj_kinematics(model, data)
        mj.mj_camlight(model, data)
        mj.mjv_updateScene(
            model, data, self._option, None, self._camera, mj.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        model.geom_group[hidden] = _SHOWN
        return self._draw(rgb)

    def _draw(self, rgb: bool) -> Shot:
        mj, scene = self._mj, self._scene
        colour = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        if rgb:
            mj.mjr_render(self._rect, scene, self._context)
            mj.mjr_readPixels(colour, None, self._rect, self._context)
        code = np.empty((self.height, self.width, 3), dtype=np.uint8)
        depth = np.empty((self.height, self.width), dtype=np.float32)
        for flag in (mj.mjtRndFlag.mjRND_SEGMENT, mj.mjtRndFlag.mjRND_IDCOLOR):
            scene.flags[flag] = 1
        mj.mjr_render(self._rect, scene, self._context)
        mj.mjr_readPixels(code, depth, self._rect, self._context)
        for flag in (mj.mjtRndFlag.mjRND_SEGMENT, mj.mjtRndFlag.mjRND_IDCOLOR):
            scene.flags[flag] = 0
        geoms = scene.geoms[: scene.ngeom]
        lookup = np.zeros(scene.ngeom + 2, dtype=np.uint8)
        for geom in geoms:
            if geom.segid >= 0 and geom.objtype == mj.mjtObj.mjOBJ_GEOM:
                lookup[geom.segid + 1] = self._owner[geom.objid]
        ids = lookup[code[..., 0].astype(np.uint16) + 256 * code[..., 1].astype(np.uint16)]
        return Shot(colour[::-1].copy(), ids[::-1].copy(), _metres(depth)[::-1].copy())


def _metres(buffer_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Z-depth from MuJoCo's reversed depth buffer (1 at the near plane, 0 at the far one)."""
    raw = buffer_hw.astype(np.float64)
    metres = _NEAR * _FAR / (_NEAR + raw * (_FAR - _NEAR))
    return metres.astype(np.float32)


_SCENES: OrderedDict[tuple[Tier, int, int, int], Scene] = OrderedDict()
_MAX_SCENES = 3  # a scene holds ~40 MB of meshes and a frame buffer


def scene_for(tier: Tier, set_index: int, width: int = 256, height: int = 256) -> Scene:
    """A compiled scene, kept for the next world of the same set; the oldest is closed."""
    key = (tier, set_index, width, height)
    if key not in _SCENES:
        while len(_SCENES) >= _MAX_SCENES:
            _SCENES.popitem(last=False)[1].close()
        _SCENES[key] = Scene(tier, set_index, width, height)
    _SCENES.move_to_end(key)
    return _SCENES[key]
